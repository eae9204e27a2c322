"""The analysis of a chunk, and its record: a text of about 20 KB, from which turns can be found without the sound."""

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import compress, decompressobj, error

import numpy as np
import numpy.typing as npt

from app.engines.diarization.excerpts import FRAMES, PER_CHUNK

VOICES = 3
"""Number of voices that the segmentation network distinguishes in an excerpt."""
SIZE = 192
"""Number of values in an embedding."""

_ROW = np.dtype([("excerpt", "u1"), ("voice", "u1"), ("frames", "<u2"), ("values", "<f2", SIZE)])
_ACTIVITY = FRAMES * VOICES
_LARGEST_BYTES = 2 + PER_CHUNK * (_ACTIVITY + VOICES * _ROW.itemsize)
_NO_RECORD = "not the record of a chunk"


@dataclass(frozen=True)
class Embedding:
    """The embedding of a voice of an excerpt; `frames` counts the frames in which the voice speaks alone."""

    excerpt: int
    voice: int
    frames: int
    values: npt.NDArray[np.float16]


@dataclass(frozen=True)
class Chunk:
    """A chunk: the probability (0 to 255) that each voice speaks (excerpts, frames, voices), and the embeddings."""

    index: int
    activity: npt.NDArray[np.uint8]
    embeddings: Sequence[Embedding]


def pack(chunk: Chunk) -> str:
    """Write a chunk as a record: base64 of compressed bytes."""
    rows = np.array([(p.excerpt, p.voice, p.frames, p.values) for p in chunk.embeddings], _ROW)
    count = len(chunk.activity).to_bytes(1, "big")
    return b64encode(compress(count + chunk.activity.tobytes() + rows.tobytes(), 1)).decode()


def unpack(index: int, record: str) -> Chunk:
    """Read a chunk from its record.

    Raises:
        ValueError: The text is not the record of a chunk.
    """
    content = _inflated(b64decode(record, validate=True))
    count, rest = int.from_bytes(content[:1], "big"), content[1:]
    activity = np.frombuffer(rest[: count * _ACTIVITY], np.uint8).reshape(count, FRAMES, VOICES)
    rows = np.frombuffer(rest[count * _ACTIVITY :], _ROW)
    if (rows["excerpt"] >= count).any() or (rows["voice"] >= VOICES).any():
        raise ValueError(_NO_RECORD)
    embeddings = [Embedding(int(r["excerpt"]), int(r["voice"]), int(r["frames"]), r["values"]) for r in rows]
    return Chunk(index, activity, embeddings)


def _inflated(content: bytes) -> bytes:
    inflater = decompressobj()
    try:
        inflated = inflater.decompress(content, _LARGEST_BYTES)
    except error as cause:
        raise ValueError(_NO_RECORD) from cause
    if not inflater.eof:
        raise ValueError(_NO_RECORD)
    return inflated
