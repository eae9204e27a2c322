"""Compute the input of the embedding network: Kaldi's 80 log mel filter bank energies every 10 ms."""

from functools import cache

import numpy as np
import numpy.typing as npt

from app.engines.mixing import SAMPLE_RATE
from app.engines.samples import Samples

Features = npt.NDArray[np.float32]
Energies = npt.NDArray[np.float64]

_WINDOW = 400  # samples, 25 ms
_STEP = 160  # samples, 10 ms
_POINTS = 512  # points of the Fourier transform
_BINS = 80  # filters
_LOWEST_HZ = 20.0
_EMPHASIS = np.float32(0.97)
_FLOOR = np.finfo(np.float32).eps
_NOTHING = 1e-12  # floor in `narrow`: at the higher _FLOOR, a quiet voice would be no louder than an empty band
_VOICE_HZ = (500.0, 3_000.0)  # a band in which voices are loud
_ABOVE_HZ = 4_300.0  # a telephone carries nothing above this frequency
# Threshold of the natural logarithm of the level above the telephone band divided by the voice's level. Measured: at
# most -6.9 on the telephone, at least -3.1 elsewhere.
_NARROW = -5.0


def features(energy: Energies) -> Features:
    """Return the logarithms of the energies minus their mean over time."""
    logarithm = np.log(np.maximum(energy, _FLOOR))
    return np.ascontiguousarray(logarithm - logarithm.mean(axis=0), np.float32)


def narrow(energy: Energies) -> bool:
    """Whether the sound comes from a telephone: it has no energy above the telephone band."""
    level = np.log(np.maximum(energy, _NOTHING)).mean(axis=0)
    centre = _corners()[1:-1]
    above = level[centre > _mel(np.float64(_ABOVE_HZ))].mean()
    voice = level[(centre > _mel(np.float64(_VOICE_HZ[0]))) & (centre < _mel(np.float64(_VOICE_HZ[1])))].mean()
    return bool(above - voice < _NARROW)


def energies(samples: Samples) -> Energies:
    """Compute 80 filter bank energies for each full window of 25 ms."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_STEP]
    centred = windows - windows.mean(axis=1, keepdims=True)
    before = np.concatenate([centred[:, :1], centred[:, :-1]], axis=1)
    spectrum = np.fft.rfft((centred - _EMPHASIS * before) * _shape(), _POINTS)[:, :-1]
    return np.asarray((spectrum.real**2 + spectrum.imag**2) @ _filters(), np.float64)


@cache
def _shape() -> Samples:
    """Return Povey's window, a flatter Hann window."""
    return (np.hanning(_WINDOW) ** 0.85).astype(np.float32)


@cache
def _filters() -> Features:
    """Return triangular filters that overlap by half, evenly spaced in mel."""
    corners = _corners()
    mel = _mel(np.arange(_POINTS // 2) * SAMPLE_RATE / _POINTS)[:, np.newaxis]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (mel - left) / (middle - left), (right - mel) / (right - middle)
    return np.maximum(np.minimum(rising, falling), 0).astype(np.float32)


def _corners() -> npt.NDArray[np.float64]:
    """Return the corners of the filters, in mel: filter n begins at corner n, peaks at n + 1 and ends at n + 2."""
    return np.linspace(_mel(np.float64(_LOWEST_HZ)), _mel(np.float64(SAMPLE_RATE / 2)), _BINS + 2)


def _mel(hertz: npt.NDArray[np.float64] | np.float64) -> npt.NDArray[np.float64]:
    return np.asarray(1127 * np.log1p(hertz / 700))
