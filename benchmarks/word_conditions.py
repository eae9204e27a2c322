"""The voices of a measurement on the telephone, in noise and with music."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.engines.diarization.telephone import simulate_telephone
from tests.truth.recordings import RATE, read

Audio = npt.NDArray[np.float32]

HUM_HZ = (50, 150, 250)
FRAME = RATE // 100  # samples
QUIETEST = 10**-3.5  # power of the quietest speech, as a part of that of the loudest frame


def conditions(voice: Audio, music: Sequence[Path]) -> dict[str, Audio]:
    """The voice in each condition, by its name; with music only where there is some."""
    heard = {
        "clean": voice,
        "telephone with hum": _telephone(voice),
        "noise, 15 dB": voice + _noise(voice, 15),
        "noise, 5 dB": voice + _noise(voice, 5),
    }
    if music:
        tune = np.concatenate([read(path) for path in music]).astype(np.float32)
        heard["music on hold, 15 dB"] = voice + _quieter(np.resize(tune, len(voice)), voice, 15)
    return heard


def _telephone(voice: Audio) -> Audio:
    time = np.arange(len(voice)) / RATE
    hum = sum(np.sin(2 * np.pi * hertz * time) for hertz in HUM_HZ)
    line = simulate_telephone(voice + _noise(voice, 35))
    return line + _quieter(np.asarray(hum, np.float32), line, 25)


def _noise(voice: Audio, decibels: float) -> Audio:
    spectrum = np.fft.rfft(np.random.default_rng(len(voice)).normal(size=len(voice)))
    pink = spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(len(voice), 1 / RATE), 50))
    return _quieter(np.fft.irfft(pink, len(voice)).astype(np.float32), voice, decibels)


def _quieter(sound: Audio, voice: Audio, decibels: float) -> Audio:
    """Make a sound so much quieter than the speech in `voice`, pauses aside."""
    frames = (voice[: len(voice) // FRAME * FRAME].reshape(-1, FRAME) ** 2).mean(axis=1)
    power = frames[frames > frames.max() * QUIETEST].mean()
    return np.asarray(sound / sound.std() * np.sqrt(power) * 10 ** (-decibels / 20), np.float32)
