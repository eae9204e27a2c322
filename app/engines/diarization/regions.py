"""Find the regions of a chunk, in which one voice speaks alone, and cut them into parts that get an embedding each.

The segmentation network often hears two people who take short turns as one voice, and an embedding of the whole voice
would mix both. So an embedding is made of at most 1.5 s, which are mostly of one person (docs/decisions/0029).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES

Speaking = npt.NDArray[np.bool_]

MAX_EMBEDDING_FRAMES = 89
"""Most frames of speech in an embedding, 1.5 s."""
EMBEDDING_STEP_FRAMES = 44
"""Most frames between the starts of two embeddings of one region, 0.75 s."""
MIN_EMBEDDING_FRAMES = 15
"""Fewest frames of speech in an embedding, 0.25 s."""


def embedding_spans(speaking: Speaking, frames: int) -> Iterator[tuple[int, int]]:
    """Yield where the speech of each embedding starts and ends, in frames from the start of a chunk.

    `speaking`: whether each voice speaks (windows, frames, voices). `frames`: only the first `frames` frames of the
    chunk are used. The embeddings of one region have the same length, and overlap.
    """
    for start, end in _regions(speaking, frames):
        spare = max(end - start - MAX_EMBEDDING_FRAMES, 0)
        count = -(-spare // EMBEDDING_STEP_FRAMES) + 1
        for begin in np.rint(np.linspace(start, start + spare, count)).astype(int):
            yield int(begin), int(min(begin + MAX_EMBEDDING_FRAMES, end))


def _regions(speaking: Speaking, frames: int) -> Iterator[tuple[int, int]]:
    """Yield the regions in which one voice speaks alone; at each frame, the window with the nearest middle says who.

    A region goes on where the next window takes over, even if the voice has another number in that window. Regions of
    less than SHORTEST_FRAMES are not yielded.
    """
    place = np.arange(frames)
    judge = np.clip(np.rint((place - WINDOW_FRAMES / 2) / STEP_FRAMES).astype(int), 0, len(speaking) - 1)
    voices = speaking[judge, place - judge * STEP_FRAMES]
    alone = voices.sum(axis=1) == 1
    voice = voices.argmax(axis=1)
    changed = (np.diff(alone) | ((np.diff(voice) != 0) & (np.diff(judge) == 0))).nonzero()[0] + 1
    edges = [0, *changed.tolist(), frames]
    for start, end in pairwise(edges):
        if alone[start] and end - start >= MIN_EMBEDDING_FRAMES:
            yield start, end
