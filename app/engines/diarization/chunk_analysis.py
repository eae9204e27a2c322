"""The analysis of a chunk (about a minute of a recording), as an object and as a string of about 30 KB.

The string is stored, so that a later attempt does not analyse the chunk again. The analyses of all chunks are all that
is needed to compute the turns of a recording.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import compress, decompressobj, error

import numpy as np
import numpy.typing as npt

from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.regions import MAX_EMBEDDING_FRAMES, MIN_EMBEDDING_FRAMES
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES, WINDOWS_PER_CHUNK, Mask

LOCAL_SPEAKERS = 3  # number of local speakers that the segmentation model distinguishes in a window
EMBEDDING_SIZE = VOICE_NETWORK.dimension  # number of values in an embedding

MIN_SPEECH_FRAMES = 6  # fewest frames (0.1 s) in which a local speaker speaks; a local speaker with fewer is ignored
# 2.2 s: two local speakers who speak at the same time for so long are two people, even if most windows detect only one.
# Shorter overlaps may be false, above all on telephones.
LONG_OVERLAP_FRAMES = 130

Activity = npt.NDArray[np.uint8]
Quantized = npt.NDArray[np.int8]

_ACTIVE = 128  # a local speaker with at least this probability (of 255) speaks
_LARGEST = 127  # the largest quantized value
_EMBEDDING = np.dtype([("start", "<u2"), ("end", "<u2"), ("from_telephone", "u1"), ("values", "i1", EMBEDDING_SIZE)])
_LOCAL_SPEAKER = np.dtype([("window", "u1"), ("number", "u1"), ("values", "i1", EMBEDDING_SIZE)])
_HEADER = np.dtype([("windows", "u1"), ("embeddings", "<u2"), ("overlapped", "u1")])
_ACTIVITY_BYTES = WINDOW_FRAMES * LOCAL_SPEAKERS
_CHUNK_FRAMES = (WINDOWS_PER_CHUNK - 1) * STEP_FRAMES + WINDOW_FRAMES
_MAX_BYTES = (
    _HEADER.itemsize
    + WINDOWS_PER_CHUNK * (_ACTIVITY_BYTES + LOCAL_SPEAKERS * _LOCAL_SPEAKER.itemsize)
    + _CHUNK_FRAMES // MIN_EMBEDDING_FRAMES * _EMBEDDING.itemsize
)
_INVALID = "not the analysis of a chunk"


@dataclass(frozen=True)
class Embedding:
    """The speaker embedding of a region, or of a part of one, in which one local speaker speaks alone.

    `start`, `end`: where the region or part starts and ends, in frames from the start of the chunk. `from_telephone`:
    whether a telephone has transmitted the speech.
    """

    start: int
    end: int
    values: Quantized
    from_telephone: bool = False


@dataclass(frozen=True)
class LocalSpeaker:
    """The speaker embedding of a local speaker who hardly ever speaks alone, from one window of 10 s.

    Other embeddings are computed from regions in which one local speaker speaks alone; those of this speaker are too
    short. `window`: the index of the window in the chunk. `number`: the index of the local speaker in the window, 0 to
    2.
    """

    window: int
    number: int
    values: Quantized


@dataclass(frozen=True)
class ChunkAnalysis:
    """The analysis of a chunk, i.e. about a minute of a recording: who speaks when, and the speakers' embeddings.

    `index`: the number of the chunk in the recording, from 0. `activity`: the probability, from 0 to 255, that each
    local speaker speaks in each frame, shape (windows, frames, 3). `embeddings`: the embeddings of the regions in which
    one local speaker speaks alone. `overlapped`: the embeddings of local speakers who hardly ever speak alone.
    """

    index: int
    activity: Activity
    embeddings: Sequence[Embedding]
    overlapped: Sequence[LocalSpeaker]

    @property
    def first_frame(self) -> int:
        """Where the chunk starts, in frames from the start of the recording."""
        return self.index * WINDOWS_PER_CHUNK * STEP_FRAMES


def is_active(activity: Activity) -> Mask:
    """Return whether each local speaker speaks in each frame, in an array of the same shape as `activity`.

    `activity`: the probabilities, from 0 to 255.
    """
    return activity >= _ACTIVE


def quantized(embedding: npt.NDArray[np.float32]) -> Quantized:
    """Quantize an embedding to integers from -127 to 127; its norm is lost, and its direction hardly changes."""
    largest = max(float(np.abs(embedding).max()), float(np.finfo(np.float32).tiny))
    values: Quantized = np.rint(embedding / largest * _LARGEST).astype(np.int8)
    return values


def pack(chunk: ChunkAnalysis) -> str:
    """Serialize the analysis of a chunk, except for its index, as compressed binary data in base64."""
    header = np.array((len(chunk.activity), len(chunk.embeddings), len(chunk.overlapped)), _HEADER)
    embeddings = np.array(
        [(item.start, item.end, item.from_telephone, item.values) for item in chunk.embeddings], _EMBEDDING
    )
    overlapped = np.array([(item.window, item.number, item.values) for item in chunk.overlapped], _LOCAL_SPEAKER)
    content = b"".join(part.tobytes() for part in (header, chunk.activity, embeddings, overlapped))
    return b64encode(compress(content, 1)).decode()


def unpack(index: int, record: str) -> ChunkAnalysis:
    """Parse the analysis of the chunk with the index `index`; `record`: what `pack` has returned for it.

    Raises:
        ValueError: `record` is not a string that `pack` has returned.
    """
    content = _decompressed(b64decode(record, validate=True))
    header = np.frombuffer(content, _HEADER, 1)[0]
    windows, offset = int(header["windows"]), _HEADER.itemsize
    activity = np.frombuffer(content, np.uint8, windows * _ACTIVITY_BYTES, offset)
    offset += activity.nbytes
    embeddings = np.frombuffer(content, _EMBEDDING, int(header["embeddings"]), offset)
    overlapped = np.frombuffer(content, _LOCAL_SPEAKER, int(header["overlapped"]), offset + embeddings.nbytes)
    complete = offset + embeddings.nbytes + overlapped.nbytes == len(content)
    if not complete or not _is_possible(windows, embeddings, overlapped):
        raise ValueError(_INVALID)
    return ChunkAnalysis(
        index,
        activity.reshape(windows, WINDOW_FRAMES, LOCAL_SPEAKERS),
        [
            Embedding(int(row["start"]), int(row["end"]), row["values"], bool(row["from_telephone"]))
            for row in embeddings
        ],
        [LocalSpeaker(int(row["window"]), int(row["number"]), row["values"]) for row in overlapped],
    )


def _is_possible(windows: int, embeddings: npt.NDArray[np.void], overlapped: npt.NDArray[np.void]) -> bool:
    return bool(
        1 <= windows <= WINDOWS_PER_CHUNK
        and (embeddings["start"] < embeddings["end"]).all()
        and (embeddings["end"] - embeddings["start"] <= MAX_EMBEDDING_FRAMES).all()
        and (np.diff(embeddings["start"].astype(np.intp)) > 0).all()
        and (embeddings["end"] <= _CHUNK_FRAMES).all()
        and (overlapped["window"] < windows).all()
        and (overlapped["number"] < LOCAL_SPEAKERS).all()
    )


def _decompressed(content: bytes) -> bytes:
    decompressor = decompressobj()
    try:
        decompressed = decompressor.decompress(content, _MAX_BYTES)
    except error as cause:
        raise ValueError(_INVALID) from cause
    if not decompressor.eof:
        raise ValueError(_INVALID)
    return decompressed
