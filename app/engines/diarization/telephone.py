"""Telephone audio: recognize it, and simulate it.

With simulated telephone audio, the embedding of any speech can be compared with that of speech on a telephone.
"""

from typing import Final

import numpy as np

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples

_BAND_HZ: Final = (300.0, 3400.0)
_MU: Final = np.float32(255.0)  # the parameter of mu-law
_STEPS: Final = np.float32(127.0)  # on each side of zero: eight bits
_PEAK: Final = np.float32(0.5)
# Below so many hertz, 1.5 s of speech have 8 to 90 % of their power at full bandwidth, and 0 to 8 % on telephones.
_LOW_HZ: Final = 250
_MAX_LOW_SHARE: Final = 0.08


def simulate_telephone(samples: Samples) -> Samples:
    """Return the samples as a telephone would transmit them.

    They are limited to 300 to 3400 Hz, normalized to the peak 0.5, and quantized by mu-law.
    """
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[(hertz < _BAND_HZ[0]) | (hertz > _BAND_HZ[1])] = 0
    filtered = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
    filtered *= _PEAK / max(float(np.abs(filtered).max(initial=0)), float(np.finfo(np.float32).tiny))
    compressed = np.rint(np.log1p(_MU * np.abs(filtered)) / np.log1p(_MU) * _STEPS) / _STEPS
    expanded: Samples = (np.sign(filtered) * np.expm1(compressed * np.log1p(_MU)) / _MU).astype(np.float32)
    return expanded


def is_from_telephone(speech: Samples) -> bool:
    """Return whether a telephone has transmitted the speech: then it has hardly any power at low frequencies."""
    power = np.abs(np.fft.rfft(speech)) ** 2
    low = power[: round(_LOW_HZ * len(speech) / SAMPLE_RATE)]
    return bool(low.sum() < _MAX_LOW_SHARE * power.sum())
