"""Analyse a chunk: find when each voice speaks, and make embeddings of what it says.

A voice is a person in one window; a window has at most three voices. `speakers.py` finds later which embeddings are of
the same person.
"""

from collections.abc import Callable, Iterator

import numpy as np

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.diarization.chunk_analysis import (
    LOCAL_SPEAKERS,
    MIN_SPEECH_FRAMES,
    Activity,
    ChunkAnalysis,
    Embedding,
    LocalSpeaker,
    Speaking,
    Values,
    quantized,
    speaking,
)
from app.engines.diarization.features import features
from app.engines.diarization.networks import Networks
from app.engines.diarization.regions import MIN_EMBEDDING_FRAMES, embedding_spans
from app.engines.diarization.windows import (
    FIRST_FRAME_AT,
    FRAME_SAMPLES,
    STEP_SAMPLES,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    WINDOWS_PER_CHUNK,
    ChunkAudio,
    window,
)

_SETS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]], np.float32)
"""The sets of voices that the segmentation network distinguishes, one set a row."""
_SEGMENTING = 0.2  # share of the segmentation network in the time of a chunk; embeddings take the rest
_SILENCE = 2.0**-15  # one step of 16 bits: a window that is never louder is silent
_CLEAN_FRAMES = 18  # 0.3 s: if a voice speaks alone for less, its embedding also uses frames with several voices
_ENOUGH_FRAMES = 30  # 0.5 s: a voice whose embeddings have less of its speech gets one more, of its own
_LEAST_SAMPLES = 1_600  # 0.1 s: shorter speech gets no embedding
_MOST_SAMPLES = 64_000  # 4 s: more samples make an embedding slower, but no better


def analyse_chunk(networks: Networks, sound: ChunkAudio, progress: Callable[[float], None]) -> ChunkAnalysis:
    """Analyse a chunk; call `progress` with the seconds of the recording that are done so far."""
    begin = sound.index * WINDOWS_PER_CHUNK * STEP_SAMPLES
    activity = []
    for number in range(sound.windows):
        activity.append(_activity(networks, window(sound, number)))
        progress((begin + number * STEP_SAMPLES * _SEGMENTING) / SAMPLE_RATE)
    active = speaking(np.array(activity))
    found = []
    for start, end in embedding_spans(active, sound.frames):
        spoken = _samples(sound.samples, start, end)
        if len(spoken) >= _LEAST_SAMPLES:  # the network may hear somebody after the recording's end
            found.append(Embedding(start, end, _embedded(networks, spoken)))
        done = _SEGMENTING * sound.frames + (1 - _SEGMENTING) * end
        progress((begin + done * FRAME_SAMPLES) / SAMPLE_RATE)
    voices = [each for number in range(sound.windows) for each in _voices(networks, sound, number, active[number])]
    return ChunkAnalysis(sound.index, np.array(activity), found, voices)


def _activity(networks: Networks, samples: Samples) -> Activity:
    """Return the probability (0 to 255) that each voice speaks in each frame of a window (frames, voices)."""
    if np.abs(samples).max(initial=0) <= _SILENCE:
        return np.zeros((WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    logarithms = networks.segment(np.pad(samples, (0, WINDOW_SAMPLES - len(samples))))
    return np.rint(np.exp(logarithms) @ _SETS * 255).clip(0, 255).astype(np.uint8)


def _voices(networks: Networks, sound: ChunkAudio, number: int, active: Speaking) -> Iterator[LocalSpeaker]:
    """Make an embedding of each voice of window `number` that hardly speaks alone, such as a word said beside others.

    Such a voice has less than half a second in regions, and so too few embeddings to find out who it is.
    """
    alone = active.sum(axis=1) == 1
    for voice in range(LOCAL_SPEAKERS):
        speaks = active[:, voice]
        clean = speaks & alone
        if speaks.sum() < MIN_SPEECH_FRAMES or _in_regions(clean) >= _ENOUGH_FRAMES:
            continue
        spoken = _joined(window(sound, number), clean if clean.sum() >= _CLEAN_FRAMES else speaks)
        if len(spoken) >= _LEAST_SAMPLES:
            yield LocalSpeaker(number, voice, _embedded(networks, spoken))


def _in_regions(clean: Speaking) -> int:
    """Count the frames of a voice's regions that are long enough for an embedding."""
    starts, ends = np.flatnonzero(np.diff(clean, prepend=False, append=False)).reshape(-1, 2).T
    lengths = ends - starts
    return int(lengths[lengths >= MIN_EMBEDDING_FRAMES].sum())


def _embedded(networks: Networks, samples: Samples) -> Values:
    return quantized(networks.embed(features(samples)))


def _samples(samples: Samples, start: int, end: int) -> Samples:
    return samples[start * FRAME_SAMPLES + FIRST_FRAME_AT : end * FRAME_SAMPLES + FIRST_FRAME_AT]


def _joined(samples: Samples, frames: Speaking) -> Samples:
    """Join the samples of the frames for which `frames` is True; if they exceed four seconds, keep the middle four.

    Each region gets one frame more, because the segmentation network looks a little ahead.
    """
    edges = np.flatnonzero(np.diff(frames, prepend=False, append=False)).reshape(-1, 2)
    joined = np.concatenate([samples[start * FRAME_SAMPLES : (end + 1) * FRAME_SAMPLES] for start, end in edges])
    spare = max(len(joined) - _MOST_SAMPLES, 0)
    return joined[spare // 2 :][:_MOST_SAMPLES]
