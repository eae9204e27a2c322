"""Compute the input of the embedding model: Kaldi's 80 log mel filter bank energies every 10 ms."""

from functools import cache

import numpy as np
import numpy.typing as npt

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples

Features = npt.NDArray[np.float32]

_FRAME = 400  # samples, 25 ms
_STEP = 160  # samples, 10 ms
_POINTS = 512  # points of the Fourier transform
_BINS = 80  # filters
_LOWEST_HZ = 20.0
_PREEMPHASIS = np.float32(0.97)
_FLOOR = np.finfo(np.float32).eps
_WINDOW = (np.hanning(_FRAME) ** 0.85).astype(np.float32)  # the Povey window, a flatter Hann window


def features(samples: Samples) -> Features:
    """Return the log mel filter bank energies of each frame of 25 ms, minus their mean over time, shape (frames, 80).

    A frame starts every 10 ms; samples at the end that do not fill a frame are ignored.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_STEP]
    centred = frames - frames.mean(axis=1, keepdims=True)
    previous = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
    spectrum = np.fft.rfft((centred - _PREEMPHASIS * previous) * _WINDOW, _POINTS)[:, :-1]
    energies = np.asarray((spectrum.real**2 + spectrum.imag**2) @ _filters(), np.float64)
    logarithm = np.log(np.maximum(energies, _FLOOR))
    return np.ascontiguousarray(logarithm - logarithm.mean(axis=0), np.float32)


@cache
def _filters() -> Features:
    """Return 80 triangular filters that are evenly spaced on the mel scale, shape (256 frequencies, 80).

    They have 82 corner frequencies: filter n rises from corner n to corner n + 1, and falls to corner n + 2. So
    consecutive filters overlap by half.
    """
    corners = np.linspace(_mel(np.float64(_LOWEST_HZ)), _mel(np.float64(SAMPLE_RATE / 2)), _BINS + 2)
    mel = _mel(np.arange(_POINTS // 2) * SAMPLE_RATE / _POINTS)[:, np.newaxis]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (mel - left) / (middle - left), (right - mel) / (right - middle)
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


def _mel(hertz: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    return np.asarray(1127 * np.log1p(hertz / 700))
