"""Find the regions of a chunk, i.e. where one local speaker speaks alone, and cut them into spans for embeddings.

The segmentation model often takes two people with short turns for one local speaker, and a single embedding of all the
speech of this local speaker would mix both. So an embedding covers at most 1.5 s, which is mostly the speech of one
person (docs/decisions/0029).
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES, Mask

MAX_EMBEDDING_FRAMES = 89  # most frames of speech in an embedding, 1.5 s
EMBEDDING_STEP_FRAMES = 44  # most frames between the starts of two embeddings of one region, 0.75 s
MIN_EMBEDDING_FRAMES = 15  # fewest frames of speech in an embedding, 0.25 s


def embedding_spans(active: Mask, frames: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of a chunk from which embeddings are computed, as start and end frames in the chunk.

    A span is up to 1.5 s long, and lies in a region in which one local speaker speaks alone. The spans of one region
    have equal lengths, and overlap. `active`: whether each local speaker speaks, shape (windows, frames, 3). `frames`:
    how many frames from the start of the chunk to use.
    """
    for region_start, region_end in _regions(active, frames):
        excess = max(region_end - region_start - MAX_EMBEDDING_FRAMES, 0)
        count = -(-excess // EMBEDDING_STEP_FRAMES) + 1
        for start in np.rint(np.linspace(region_start, region_start + excess, count)).astype(int):
            yield int(start), int(min(start + MAX_EMBEDDING_FRAMES, region_end))


def _regions(active: Mask, frames: int) -> Iterator[tuple[int, int]]:
    """Yield the start and end frame of each region of a chunk in which exactly one speaker is active.

    `active`, `frames`: as in `embedding_spans`. Windows overlap: the activity in a frame is read from the window whose
    middle is nearest to it. A region may continue in the next window, where its speaker may have another number.
    Regions of less than MIN_EMBEDDING_FRAMES are skipped.
    """
    frame = np.arange(frames)
    window = np.clip(np.rint((frame - WINDOW_FRAMES / 2) / STEP_FRAMES).astype(int), 0, len(active) - 1)
    speakers = active[window, frame - window * STEP_FRAMES]
    alone = speakers.sum(axis=1) == 1
    speaker = speakers.argmax(axis=1)
    changes = (np.diff(alone) | ((np.diff(speaker) != 0) & (np.diff(window) == 0))).nonzero()[0] + 1
    for start, end in pairwise([0, *changes.tolist(), frames]):
        if alone[start] and end - start >= MIN_EMBEDDING_FRAMES:
            yield start, end
