"""Cut the speech of a chunk into slices: up to 1.5 s in which one person speaks.

The segmentation network often hears two people who take short turns as one voice, so that an embedding of the whole
voice mixes two people. A slice is short enough to hold one person (docs/decisions/0029).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.engines.diarization.excerpts import FRAMES, FRAMES_APART

Speaking = npt.NDArray[np.bool_]

SLICE_FRAMES = 89
"""Frames in the longest slice, 1.5 s."""
SLICES_APART = 44
"""Most frames between the starts of two slices of one region, 0.75 s."""
SHORTEST_FRAMES = 15
"""Frames in the shortest slice, 0.25 s."""


def slices(speaking: Speaking, frames: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each slice in the first `frames` frames of a chunk, by time.

    `speaking` (excerpts, frames, voices): whether each voice of each excerpt speaks. A region with one voice is cut
    evenly into overlapping slices.
    """
    for start, end in _regions(speaking, frames):
        spare = max(end - start - SLICE_FRAMES, 0)
        count = -(-spare // SLICES_APART) + 1
        for begin in np.rint(np.linspace(start, start + spare, count)).astype(int):
            yield int(begin), int(min(begin + SLICE_FRAMES, end))


def _regions(speaking: Speaking, frames: int) -> Iterator[tuple[int, int]]:
    """Yield the regions in which the same single voice speaks; each frame is judged by the excerpt around it.

    Where the next excerpt takes over, a region goes on: the voices of two excerpts have different numbers.
    """
    place = np.arange(frames)
    judge = np.clip(np.rint((place - FRAMES / 2) / FRAMES_APART).astype(int), 0, len(speaking) - 1)
    voices = speaking[judge, place - judge * FRAMES_APART]
    alone = voices.sum(axis=1) == 1
    voice = np.where(alone, voices.argmax(axis=1), -1)
    changed = (np.diff(alone) | ((np.diff(voice) != 0) & (np.diff(judge) == 0))).nonzero()[0] + 1
    edges = [0, *changed.tolist(), frames]
    for start, end in pairwise(edges):
        if alone[start] and end - start >= SHORTEST_FRAMES:
            yield start, end
