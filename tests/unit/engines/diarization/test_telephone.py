"""Which speech is recognized as that of a telephone, from real voices."""

from pathlib import Path

import numpy as np
import pytest

from app.engines.diarization.clustering import Floats
from app.engines.diarization.telephone import is_from_telephone, simulate_telephone
from tests.audio import load

RECORDINGS = Path(__file__).parents[3] / "recordings"
WINDOW = 24_000  # samples


def windows(path: Path) -> list[Floats]:
    """The speech of a recording: its windows of 1.5 s that are not silent."""
    samples = load(path)
    whole = samples[: len(samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return [window for window in whole if np.abs(window).max() > 0.1]


@pytest.mark.parametrize("path", sorted((RECORDINGS / "librivox").glob("*.flac")), ids=lambda path: path.stem)
def test_speech_is_from_a_telephone_if_low_frequencies_are_missing(path: Path) -> None:
    speech = windows(path)
    assert not any(is_from_telephone(window) for window in speech)
    assert all(is_from_telephone(simulate_telephone(window)) for window in speech)
    assert all(is_from_telephone(simulate_telephone(0.01 * window)) for window in speech)


def test_a_real_telephone_call_is_recognized() -> None:
    assert np.mean([is_from_telephone(window) for window in windows(RECORDINGS / "talk" / "phone.wav")]) >= 0.9
