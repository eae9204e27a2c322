"""Cut a recording into windows while it is decoded: ten seconds each, overlapping, for the segmentation network.

Sixteen windows in a row, about a minute, are a chunk, whose analysis is stored as one. Chunks and windows begin at
fixed times, so that every attempt of a task has the same chunks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from app.engines.audio.samples import Samples

FRAME_SAMPLES = 270
"""Samples in a frame: the network decides once a frame who speaks."""
WINDOW_FRAMES = 589
"""Frames in a window."""
WINDOW_SAMPLES = 160_000
"""Samples in a window."""
STEP_FRAMES = 222
"""Frames between the starts of two windows, 3.75 s: 5 s find changes of speaker less exactly, 2.5 s no better."""
STEP_SAMPLES = STEP_FRAMES * FRAME_SAMPLES
"""Samples between the starts of two windows."""
FIRST_FRAME_AT = 360
"""Samples before frame 0: the network reads 991 samples for the 270 in their middle."""
WINDOWS_PER_CHUNK = 16
"""Windows in a chunk."""
_WHOLE = (WINDOWS_PER_CHUNK - 1) * STEP_SAMPLES + WINDOW_SAMPLES  # samples in a whole chunk


@dataclass(frozen=True)
class ChunkAudio:
    """The sound of a chunk, and how many windows begin in it.

    `frames`: how many of its frames lie before the next chunk begins; in the last chunk, all.
    """

    index: int
    samples: Samples
    windows: int
    frames: int


def window(sound: ChunkAudio, number: int) -> Samples:
    """Return the samples of a window: `WINDOW_SAMPLES`, or fewer where the recording ends."""
    return sound.samples[number * STEP_SAMPLES :][:WINDOW_SAMPLES]


def chunks(sound: Iterable[Samples]) -> Iterator[ChunkAudio]:
    """Cut a recording into chunks; hold no more than about 70 s of sound at a time."""
    index = 0
    waiting: list[Samples] = []
    for samples in sound:
        waiting.append(samples)
        while sum(map(len, waiting)) > _WHOLE:  # more sound than one chunk: the next chunk has a window
            joined = np.concatenate(waiting)
            yield ChunkAudio(index, joined[:_WHOLE], WINDOWS_PER_CHUNK, WINDOWS_PER_CHUNK * STEP_FRAMES)
            index += 1
            waiting = [joined[WINDOWS_PER_CHUNK * STEP_SAMPLES :]]
    rest = np.concatenate([*waiting, np.empty(0, np.float32)])
    windows = max(1, ceil((len(rest) - WINDOW_SAMPLES) / STEP_SAMPLES) + 1)
    yield ChunkAudio(index, rest, windows, (windows - 1) * STEP_FRAMES + WINDOW_FRAMES)
