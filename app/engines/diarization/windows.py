"""Cut a recording into windows while it is decoded: ten seconds each, overlapping, for the segmentation network.

Sixteen windows in a row, about a minute, are a chunk, whose analysis is stored as one. Chunks and windows begin at
fixed times, so that every attempt of a task has the same chunks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from app.engines.audio.samples import Samples

FRAME = 270
"""Samples in a frame: the network decides once a frame who speaks."""
FRAMES = 589
"""Frames in a window."""
LENGTH = 160_000
"""Samples in a window."""
FRAMES_APART = 222
"""Frames between the starts of two windows, 3.75 s: 5 s find changes of speaker less exactly, 2.5 s no better."""
APART = FRAMES_APART * FRAME
"""Samples between the starts of two windows."""
FIRST_EDGE = 360
"""Samples before frame 0: the network reads 991 samples for the 270 in their middle."""
PER_CHUNK = 16
"""Windows in a chunk."""
_WHOLE = (PER_CHUNK - 1) * APART + LENGTH  # samples in a whole chunk


@dataclass(frozen=True)
class ChunkSound:
    """The sound of a chunk, and how many windows begin in it.

    `frames`: how many of its frames lie before the next chunk begins; in the last chunk, all.
    """

    index: int
    samples: Samples
    windows: int
    frames: int


def window(sound: ChunkSound, number: int) -> Samples:
    """Return the samples of a window: `LENGTH`, or fewer where the recording ends."""
    return sound.samples[number * APART :][:LENGTH]


def chunks(sound: Iterable[Samples]) -> Iterator[ChunkSound]:
    """Cut a recording into chunks; hold no more than about 70 s of sound at a time."""
    index = 0
    waiting: list[Samples] = []
    for samples in sound:
        waiting.append(samples)
        while sum(map(len, waiting)) > _WHOLE:  # more sound than one chunk: the next chunk has a window
            joined = np.concatenate(waiting)
            yield ChunkSound(index, joined[:_WHOLE], PER_CHUNK, PER_CHUNK * FRAMES_APART)
            index += 1
            waiting = [joined[PER_CHUNK * APART :]]
    rest = np.concatenate([*waiting, np.empty(0, np.float32)])
    windows = max(1, ceil((len(rest) - LENGTH) / APART) + 1)
    yield ChunkSound(index, rest, windows, (windows - 1) * FRAMES_APART + FRAMES)
