"""Cut a recording into windows while it is decoded: 10 s of audio each, overlapping, for the segmentation model.

Sixteen consecutive windows, about a minute, are a chunk, whose analysis is stored as a whole. Chunks and windows start
at fixed offsets, so every attempt at a task has the same chunks. (The windows of transcription are other ones.)
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from app.engines.audio.samples import Samples

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

FRAME_SAMPLES = 270  # samples per frame: the segmentation model decides who speaks once per frame
WINDOW_FRAMES = 589
WINDOW_SAMPLES = 160_000
# Frames between the starts of consecutive windows (3.75 s). 5 s locates speaker changes less exactly, 2.5 s no better.
STEP_FRAMES = 222
STEP_SAMPLES = STEP_FRAMES * FRAME_SAMPLES  # samples between the starts of consecutive windows
# Samples before frame 0: the receptive field of a frame is 991 samples, of which the frame is the middle 270.
FIRST_FRAME_AT = 360
WINDOWS_PER_CHUNK = 16
_CHUNK_SAMPLES = (WINDOWS_PER_CHUNK - 1) * STEP_SAMPLES + WINDOW_SAMPLES


@dataclass(frozen=True)
class ChunkAudio:
    """The samples of a chunk, i.e. of up to 16 overlapping windows of 10 s, up to the end of its last window.

    `index`: the number of the chunk, from 0. `windows`: how many windows start in the chunk. `frames`: how many frames
    of the chunk precede the next chunk; in the last chunk, all frames.
    """

    index: int
    samples: Samples
    windows: int
    frames: int

    @property
    def first_sample(self) -> int:
        """Where the chunk starts, in samples from the start of the recording."""
        return self.index * WINDOWS_PER_CHUNK * STEP_SAMPLES

    def window(self, number: int) -> Samples:
        """Return the samples of the window with the index `number`: WINDOW_SAMPLES, or fewer at the recording's end."""
        return self.samples[number * STEP_SAMPLES :][:WINDOW_SAMPLES]


def chunks(audio: Iterable[Samples]) -> Iterator[ChunkAudio]:
    """Yield the chunks of a recording, about a minute each; at most about 70 s of audio are buffered.

    `audio`: the samples of the recording, in order.
    """
    index = 0
    buffered: list[Samples] = []
    for samples in audio:
        buffered.append(samples)
        while sum(map(len, buffered)) > _CHUNK_SAMPLES:  # the audio beyond this chunk fills a window of the next one
            joined = np.concatenate(buffered)
            yield ChunkAudio(index, joined[:_CHUNK_SAMPLES], WINDOWS_PER_CHUNK, WINDOWS_PER_CHUNK * STEP_FRAMES)
            index += 1
            buffered = [joined[WINDOWS_PER_CHUNK * STEP_SAMPLES :]]
    rest = np.concatenate([*buffered, np.empty(0, np.float32)])
    windows = max(1, ceil((len(rest) - WINDOW_SAMPLES) / STEP_SAMPLES) + 1)
    yield ChunkAudio(index, rest, windows, (windows - 1) * STEP_FRAMES + WINDOW_FRAMES)


def sample_at(frame: int) -> int:
    """Return the index of the first sample of a frame, both counted from the start of the same chunk or recording."""
    return frame * FRAME_SAMPLES + FIRST_FRAME_AT


def runs(mask: Mask) -> Indices:
    """Return the index at which each run of True values starts, and the index after its end, shape (runs, 2)."""
    return np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)


def long_runs(mask: Mask, least: int) -> Mask:
    """Return a copy of `mask` in which only runs of at least `least` True values remain."""
    result = np.zeros_like(mask)
    for start, end in runs(mask):
        result[start:end] = end - start >= least
    return result
