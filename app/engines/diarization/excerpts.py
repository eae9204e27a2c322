"""Excerpts: overlapping pieces of ten seconds for the segmentation network, cut while the recording is decoded.

A chunk is a run of excerpts, a minute long: the unit in which results are kept. Where chunks and excerpts lie depends
on the time alone, so that a run that resumes finds the same ones.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from app.engines.samples import Samples

FRAME = 270
"""Samples from one decision of the network to the next."""
FRAMES = 589
"""Decisions in an excerpt."""
LENGTH = 160_000
"""Samples in an excerpt."""
FRAMES_APART = 222
"""Frames from the start of one excerpt to the next, 3.75 s: with 5 s changes of speaker suffer, 2.5 s gain nothing."""
APART = FRAMES_APART * FRAME
PER_CHUNK = 16
_WHOLE = (PER_CHUNK - 1) * APART + LENGTH


@dataclass(frozen=True)
class ChunkSound:
    """The sound of a chunk and how many excerpts begin in it."""

    index: int
    samples: Samples
    excerpts: int


def excerpt(sound: ChunkSound, number: int) -> Samples:
    """Return the samples of an excerpt; shorter than `LENGTH` where the recording ends."""
    return sound.samples[number * APART :][:LENGTH]


def chunks(pieces: Iterable[Samples]) -> Iterator[ChunkSound]:
    """Cut a recording into chunks; holds about 70 s of it at a time."""
    index = 0
    waiting: list[Samples] = []
    for piece in pieces:
        waiting.append(piece)
        while sum(map(len, waiting)) > _WHOLE:  # more than that: the next chunk has an excerpt
            sound = np.concatenate(waiting)
            yield ChunkSound(index, sound[:_WHOLE], PER_CHUNK)
            index += 1
            waiting = [sound[PER_CHUNK * APART :]]
    rest = np.concatenate([*waiting, np.empty(0, np.float32)])
    yield ChunkSound(index, rest, max(1, ceil((len(rest) - LENGTH) / APART) + 1))
