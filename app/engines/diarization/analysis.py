"""Analyse a chunk: find when each voice speaks, and the embedding of each voice.

A voice is a person who speaks in one excerpt; an excerpt has at most three voices. Which voices of different excerpts
are the same person is found later, from the embeddings.
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
"""The sets of voices that the segmentation network distinguishes, one set a row."""
_SILENCE = 2.0**-15  # one step of 16 bits: an excerpt that is never louder is silent
_LEAST_FRAMES = 6  # 0.1 s: a voice that speaks for less is ignored
_CLEAN_FRAMES = 18  # 0.3 s: if a voice speaks alone for less, its embedding also uses frames with several voices
_LEAST_SAMPLES = 1_600  # 0.1 s: shorter speech gets no embedding
_MOST_SAMPLES = 64_000  # 4 s: more samples make an embedding slower, but no better


def analyse(networks: Networks, sound: ChunkSound, progress: Callable[[int], None]) -> Chunk:
    """Analyse a chunk; call `progress` with the number of excerpts of the recording done so far."""
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
    """Return the probability (0 to 255) that each voice speaks in each frame, and whether the voice speaks there."""
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
    """Join the samples of the frames; each run gets one frame more, because the network looks a little ahead."""
    edges = np.flatnonzero(np.diff(frames, prepend=False, append=False)).reshape(-1, 2)
    return np.concatenate([samples[start * FRAME : (end + 1) * FRAME] for start, end in edges])
