"""Stretches of speech in audio made of tones, which are loud, and noise, which is not."""

from collections.abc import Sequence

import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.stretches import stretches
from app.engines.audio.timeline import Times
from app.engines.audio.window_audio import WindowAudio
from app.engines.audio.windows import FRAME
from tests.audio import silence, tone

SPOKEN = [(0.4, 1.0), (1.3, 2.1), (2.9, 3.6)]
SECONDS = 4.0
SHORT = 0.05  # seconds: noise may be as loud as speech for so long
WITHIN = 0.03  # seconds: two or three frames, over which noise is averaged


def tones(spoken: Sequence[Times] = SPOKEN, seconds: float = SECONDS) -> Samples:
    samples = silence(seconds)
    for start, end in spoken:
        samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = tone(end - start)
    return samples


def found(samples: Samples, *regions: Times, speech: Sequence[float] = ()) -> list[Times]:
    audio = WindowAudio(samples, regions or [(0.0, len(samples) / SAMPLE_RATE)])
    starts, ends = stretches(audio, np.array(speech, np.float32))
    return [(round(start, 2), round(end, 2)) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


def noise(decibels: float) -> Samples:
    """Noise this much quieter than the tones."""
    random = np.random.default_rng(1).normal(size=round(SECONDS * SAMPLE_RATE)).astype(np.float32)
    return random * np.float32(0.3 / np.sqrt(2) * 10 ** (-decibels / 20))


def hum(hertz: float = 50) -> Samples:
    return tone(SECONDS, hertz) * np.float32(0.3)


BACKGROUNDS = {
    "silence": silence(SECONDS),
    "quiet noise": noise(30),
    "noise": noise(15),
    "loud noise": noise(5),
    "hum": hum(),
    "hum and noise": hum(150) + noise(20),
}


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_stretch_is_what_stands_out(background: str) -> None:
    stretches_found = found(tones() + BACKGROUNDS[background])
    edges = np.array([(start, end) for start, end in stretches_found if end - start > SHORT])
    assert edges.shape == np.shape(SPOKEN)
    assert np.abs(edges - SPOKEN).max() <= WITHIN


def test_in_silence_the_edges_are_exact() -> None:
    assert found(tones()) == SPOKEN


def test_a_short_pause_ends_no_stretch() -> None:
    assert len(found(tones([(0.4, 1.0), (1.05, 1.6)]))) == 1
    assert len(found(tones([(0.4, 1.0), (1.1, 1.6)]))) == 2


def test_what_is_much_quieter_than_its_surroundings_is_no_speech() -> None:
    quiet = tones([(1.2, 1.5)]) * 0.01  # 40 dB
    assert len(found(tones([(0.4, 1.0)]) + quiet)) == 1


def test_quiet_speech_far_from_loud_speech_is_found() -> None:
    quiet = tones([(2.9, 3.6)]) * 0.01
    assert len(found(tones([(0.4, 1.0)]) + quiet)) == 2


def test_audio_outside_the_regions_is_ignored() -> None:
    assert found(tones(), (1.15, 2.5)) == [(1.3, 2.1)]


@pytest.mark.parametrize("seconds", [0, 0.005, 0.02, 2])
def test_silence_has_no_stretch(seconds: float) -> None:
    assert found(silence(seconds), (0.0, seconds)) == []


def test_audio_without_a_pause_has_no_stretch() -> None:
    assert found(tone(2.0)) == []


@pytest.mark.parametrize(
    ("others", "probability", "count"),
    [(1.0, 0.01, 2), (1.0, 0.1, 2), (1.0, 0.4, 3), (0.7, 0.01, 2), (0.7, 0.1, 3)],
)
def test_what_the_detector_takes_for_no_speech_is_none(others: float, probability: float, count: int) -> None:
    # Given three sounds; the detector is less sure of the second one, and perhaps of all
    frames = (np.arange(round(SECONDS * SAMPLE_RATE / FRAME)) + 0.5) * FRAME / SAMPLE_RATE
    speech = np.where((frames > 1.15) & (frames < 2.5), probability, others)

    # Then it is a stretch if it is probable enough, which depends on how sure the detector is elsewhere
    assert len(found(tones(), speech=speech.tolist())) == count
