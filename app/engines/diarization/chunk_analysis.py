"""The analysis of a chunk, as an object and as a text of about 30 KB, which is stored in place of the sound.

With the analyses of all chunks, turns are found without hearing the recording again.
"""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import compress, decompressobj, error

import numpy as np
import numpy.typing as npt

from app.engines.diarization.regions import MAX_EMBEDDING_FRAMES, MIN_EMBEDDING_FRAMES
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES, WINDOWS_PER_CHUNK

LOCAL_SPEAKERS = 3
"""Number of voices that the segmentation network distinguishes in a window."""
EMBEDDING_SIZE = 192
"""Number of values in an embedding."""

MIN_SPEECH_FRAMES = 6
"""Frames (0.1 s) that a voice speaks at least; a voice that speaks for less is ignored."""

Activity = npt.NDArray[np.uint8]
Speaking = npt.NDArray[np.bool_]
Values = npt.NDArray[np.int8]

_PROBABLE = 128  # a voice with this probability (of 255) speaks
_LARGEST = 127  # the largest of the values that stand for an embedding
_EMBEDDING = np.dtype([("start", "<u2"), ("end", "<u2"), ("values", "i1", EMBEDDING_SIZE)])
_VOICE = np.dtype([("window", "u1"), ("voice", "u1"), ("values", "i1", EMBEDDING_SIZE)])
_HEAD = np.dtype([("windows", "u1"), ("embeddings", "<u2"), ("voices", "u1")])
_ACTIVITY = WINDOW_FRAMES * LOCAL_SPEAKERS
_FRAMES = (WINDOWS_PER_CHUNK - 1) * STEP_FRAMES + WINDOW_FRAMES
_LARGEST_BYTES = (
    _HEAD.itemsize
    + WINDOWS_PER_CHUNK * (_ACTIVITY + LOCAL_SPEAKERS * _VOICE.itemsize)
    + _FRAMES // MIN_EMBEDDING_FRAMES * _EMBEDDING.itemsize
)
_NO_RECORD = "not the analysis of a chunk"


@dataclass(frozen=True)
class Embedding:
    """An embedding of a region, or of a part of it; `start` and `end` in frames from the start of the chunk."""

    start: int
    end: int
    values: Values


@dataclass(frozen=True)
class LocalSpeaker:
    """A voice that hardly ever speaks alone in its window, and its one embedding.

    `window`: the number of the window in the chunk. `voice`: the number of the voice in the window, 0 to 2.
    """

    window: int
    voice: int
    values: Values


@dataclass(frozen=True)
class ChunkAnalysis:
    """The analysis of a chunk.

    `activity`: the probability (0 to 255) that each voice speaks (windows, frames, voices). `embeddings`: of regions.
    `voices`: those that hardly ever speak alone.
    """

    index: int
    activity: Activity
    embeddings: Sequence[Embedding]
    voices: Sequence[LocalSpeaker]

    @property
    def speaking(self) -> Speaking:
        """Whether each voice speaks (windows, frames, voices)."""
        return speaking(self.activity)


def speaking(activity: Activity) -> Speaking:
    """Return whether each voice speaks, from the probability (0 to 255) that it does."""
    return activity >= _PROBABLE


def quantized(embedding: npt.NDArray[np.float32]) -> Values:
    """Return an embedding as whole numbers from -127 to 127: its length is lost, its direction changes by 0.01 %."""
    largest = max(float(np.abs(embedding).max()), float(np.finfo(np.float32).tiny))
    values: Values = np.rint(embedding / largest * _LARGEST).astype(np.int8)
    return values


def pack(chunk: ChunkAnalysis) -> str:
    """Write the analysis of a chunk as text: base64 of compressed bytes."""
    head = np.array((len(chunk.activity), len(chunk.embeddings), len(chunk.voices)), _HEAD)
    embeddings = np.array([(each.start, each.end, each.values) for each in chunk.embeddings], _EMBEDDING)
    voices = np.array([(each.window, each.voice, each.values) for each in chunk.voices], _VOICE)
    parts = (head.tobytes(), chunk.activity.tobytes(), embeddings.tobytes(), voices.tobytes())
    return b64encode(compress(b"".join(parts), 1)).decode()


def unpack(index: int, record: str) -> ChunkAnalysis:
    """Read the analysis of the chunk with the number `index` from `record`, a text that `pack` has written.

    Raises:
        ValueError: `record` is not such a text.
    """
    content = _inflated(b64decode(record, validate=True))
    head = np.frombuffer(content, _HEAD, 1)[0]
    windows, at = int(head["windows"]), _HEAD.itemsize
    activity = np.frombuffer(content, np.uint8, windows * _ACTIVITY, at).reshape(windows, WINDOW_FRAMES, LOCAL_SPEAKERS)
    at += activity.nbytes
    embeddings = np.frombuffer(content, _EMBEDDING, int(head["embeddings"]), at)
    voices = np.frombuffer(content, _VOICE, int(head["voices"]), at + embeddings.nbytes)
    if at + embeddings.nbytes + voices.nbytes != len(content) or not _possible(windows, embeddings, voices):
        raise ValueError(_NO_RECORD)
    return ChunkAnalysis(
        index,
        activity,
        [Embedding(int(row["start"]), int(row["end"]), row["values"]) for row in embeddings],
        [LocalSpeaker(int(row["window"]), int(row["voice"]), row["values"]) for row in voices],
    )


def _possible(windows: int, embeddings: npt.NDArray[np.void], voices: npt.NDArray[np.void]) -> bool:
    return bool(
        1 <= windows <= WINDOWS_PER_CHUNK
        and (embeddings["start"] < embeddings["end"]).all()
        and (embeddings["end"] - embeddings["start"] <= MAX_EMBEDDING_FRAMES).all()
        and (np.diff(embeddings["start"].astype(np.intp)) > 0).all()
        and (embeddings["end"] <= _FRAMES).all()
        and (voices["window"] < windows).all()
        and (voices["voice"] < LOCAL_SPEAKERS).all()
    )


def _inflated(content: bytes) -> bytes:
    inflater = decompressobj()
    try:
        inflated = inflater.decompress(content, _LARGEST_BYTES)
    except error as cause:
        raise ValueError(_NO_RECORD) from cause
    if not inflater.eof:
        raise ValueError(_NO_RECORD)
    return inflated
