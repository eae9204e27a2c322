"""Find the stretches of speech in a window: speech without a pause, with its start and end to a hundredth of a second.

A frame of 10 ms belongs to a stretch if it is as loud as speech, relative to the loudest frame nearby, and exceeds the
noise. What the noise is like, the voice detector shows: just inside its edges, a region has noise alone. Noise is
compared in bands of the spectrum, so hum hides no voice, and a rumble hides no consonant. What is as loud as speech and
is none, such as music, is excluded by the detector's probability.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Times
from app.engines.audio.window_audio import WindowAudio
from app.engines.audio.windows import FRAME, SPEECH, Probabilities

FRAME_S = 0.01

_FRAME = round(FRAME_S * SAMPLE_RATE)  # samples; a frame's spectrum has a value every 100 Hz
_BANDS = (0, 1, 2, 4, 8, 12, 20, 30, 40, 60)  # in the spectrum, the start of each band
_AROUND = 100  # frames on both sides among which the loudest is looked for
_QUIETEST = 10**-3.5  # power of speech, as a share of that of the loudest frame around it
_SMOOTHED = 5  # frames over which a band is averaged before it is compared with the noise
_EDGE = 15  # frames at both ends of a region in which the detector found no speech
_MIN_EXCESS_DB = 1.0  # by which speech exceeds the noise, as a mean over all bands
_MAX_EXCESS_DB = 4.0  # more is not required, however much the noise changes
_STEADY = 0.9  # share of the noise whose own excess is below that of speech
# With less probability a frame is no speech: where the detector is sure of speech elsewhere, and where it is not.
_IMPROBABLE, _IMPROBABLE_UNSURE = 0.2, 0.05
_SURE = 0.9  # mean probability of frames with speech; it is lower on telephones
_TINY = 1e-9  # less than the power of the rounding to 16 bits in a band
_PAUSE = 6  # frames; a shorter pause does not end a stretch

Seconds = npt.NDArray[np.float64]
Stretches = tuple[Seconds, Seconds]  # their starts and their ends, in order

_Powers = npt.NDArray[np.float32]


def stretches(audio: WindowAudio, speech: Probabilities) -> Stretches:
    """Return the starts and the ends of the stretches of speech, in seconds from the first sample of `audio`.

    `speech`: the probability of speech in each 512 samples, as the voice detector returns it; empty if unknown. Audio
    before the first region in `audio.speech` and after the last one is ignored.
    """
    bands = _band_powers(audio.samples)
    if not len(bands):
        return np.zeros(0), np.zeros(0)
    is_spoken = _is_loud(bands) & _stands_out(bands, audio.speech) & _is_probable(len(bands), speech)
    is_spoken[: round(audio.speech[0][0] / FRAME_S)] = is_spoken[round(audio.speech[-1][1] / FRAME_S) :] = False
    spoken = np.flatnonzero(is_spoken)
    pauses = np.flatnonzero(np.diff(spoken) > _PAUSE)
    starts, ends = np.append(spoken[:1], spoken[pauses + 1]), np.append(spoken[pauses], spoken[-1:]) + 1
    return starts * np.float64(FRAME_S), ends * np.float64(FRAME_S)


def _band_powers(samples: Samples) -> _Powers:
    """Return the power of each frame in each band, shape (frames, bands)."""
    whole = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    spectrum = np.abs(np.fft.rfft(whole * np.hanning(_FRAME).astype(np.float32))) ** 2
    return np.add.reduceat(spectrum, _BANDS, axis=1)


def _is_loud(bands: _Powers) -> npt.NDArray[np.bool_]:
    """Return whether each frame is loud enough to be speech, relative to the loudest frame within a second."""
    power = bands.sum(axis=1)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(power, _AROUND), 2 * _AROUND + 1).max(axis=1)
    return np.asarray(power > around * _QUIETEST)


def _stands_out(bands: _Powers, speech: Sequence[Times]) -> npt.NDArray[np.bool_]:
    """Return whether each frame is louder than the noise at the edges of the regions in `speech`."""
    padded = np.pad(bands, ((_SMOOTHED // 2, _SMOOTHED // 2), (0, 0)), mode="edge")
    smoothed = np.lib.stride_tricks.sliding_window_view(padded, _SMOOTHED, axis=0).mean(axis=-1)
    is_noise = np.zeros(len(bands), np.bool_)
    for start, end in speech:
        first, last = round(start / FRAME_S), round(end / FRAME_S)
        is_noise[first : first + _EDGE] = is_noise[max(last - _EDGE, first) : last] = True
    noise = np.median(smoothed[is_noise], axis=0)
    excess = np.maximum(10 * np.log10((smoothed + _TINY) / (noise + _TINY)), 0).mean(axis=1)
    least = np.clip(np.quantile(excess[is_noise], _STEADY), _MIN_EXCESS_DB, _MAX_EXCESS_DB)
    return np.asarray(excess > least)


def _is_probable(frames: int, speech: Probabilities) -> npt.NDArray[np.bool_]:
    """Return whether each of the frames may be speech by the voice detector's probability, which is for longer ones."""
    if not len(speech):
        return np.ones(frames, np.bool_)
    middles, detected = (
        (np.arange(count) + 0.5) * length for count, length in ((frames, _FRAME), (len(speech), FRAME))
    )
    voiced = speech[speech >= SPEECH]
    is_sure = voiced.size > 0 and voiced.mean() >= _SURE
    return np.asarray(np.interp(middles, detected, speech) > (_IMPROBABLE if is_sure else _IMPROBABLE_UNSURE))
