"""The analysis of a chunk: when its voices speak, and the embedding of each.

A voice is a speaker within one excerpt, which has at most three; whether two excerpts have a speaker in common is
found later, from the embeddings.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from app.engines.diarization.chunk import VOICES, Chunk, Embedding
from app.engines.diarization.excerpts import FRAME, FRAMES, LENGTH, PER_CHUNK, ChunkSound, excerpt
from app.engines.diarization.features import energies, features, narrow
from app.engines.diarization.networks import Networks
from app.engines.samples import Samples

Frames = npt.NDArray[np.bool_]
Activity = npt.NDArray[np.uint8]

_SETS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)
"""The sets of voices that the segmentation network distinguishes."""
_SILENCE = 2.0**-15  # not one step of 16 bits
_LEAST_FRAMES = 6  # a tenth of a second: less is no voice
_CLEAN_FRAMES = 18  # a voice alone for less is embedded together with the voices that speak at the same time
_LEAST_SAMPLES = 1_600
_MOST_SAMPLES = 64_000  # 4 s: more makes an embedding no better, and it takes most of the time


def analyse(networks: Networks, sound: ChunkSound, progress: Callable[[int], None]) -> Chunk:
    """Analyse a chunk; `progress` is called with the number of the recording's excerpts that are done."""
    activity = np.zeros((sound.excerpts, FRAMES, VOICES), np.uint8)
    embeddings: list[Embedding] = []
    for number in range(sound.excerpts):
        samples = excerpt(sound, number)
        if np.abs(samples).max(initial=0) > _SILENCE:
            activity[number], active = _segmented(networks, samples)
            embeddings += _embeddings(networks, number, samples, active)
        progress(sound.index * PER_CHUNK + number + 1)
    return Chunk(sound.index, activity, embeddings)


def _segmented(networks: Networks, samples: Samples) -> tuple[Activity, Frames]:
    """Find how probably each voice speaks in each frame (255 is surely), and whether it does."""
    logarithms = networks.segment(np.pad(samples, (0, LENGTH - len(samples))))
    probable = np.rint(np.exp(logarithms) @ _SETS * 255).clip(0, 255).astype(np.uint8)
    return probable, _SETS[logarithms.argmax(axis=-1)] > 0


def _embeddings(networks: Networks, number: int, samples: Samples, active: Frames) -> Iterator[Embedding]:
    alone = active.sum(axis=1) == 1
    for voice in range(VOICES):
        speaks = active[:, voice]
        clean = speaks & alone
        if speaks.sum() < _LEAST_FRAMES:
            continue
        spoken = _middle(_joined(samples, clean if clean.sum() >= _CLEAN_FRAMES else speaks))
        if len(spoken) >= _LEAST_SAMPLES:
            energy = energies(spoken)
            values = networks.embed(features(energy), telephone=narrow(energy))
            yield Embedding(number, voice, int(clean.sum()), values.astype(np.float16))


def _middle(spoken: Samples) -> Samples:
    spare = max(len(spoken) - _MOST_SAMPLES, 0)
    return spoken[spare // 2 :][:_MOST_SAMPLES]


def _joined(samples: Samples, frames: Frames) -> Samples:
    """Join the samples of the frames, each run one frame longer, as the network looks a little ahead."""
    edges = np.flatnonzero(np.diff(frames, prepend=False, append=False)).reshape(-1, 2)
    return np.concatenate([samples[start * FRAME : (end + 1) * FRAME] for start, end in edges])
