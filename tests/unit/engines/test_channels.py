"""Whether channels carry different speech; the detector of these tests takes all loud sound for speech."""

import numpy as np
import pytest

from app.engines.audio.channels import LEAST_SPEECH_S, ChannelSpeech
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, Probabilities

AUDIBLE = 0.003
SYLLABLE = SAMPLE_RATE // 10  # samples
SECONDS = 12


def loud(samples: Samples) -> Probabilities:
    level = np.sqrt((samples.reshape(-1, FRAME) ** 2).mean(axis=1))
    return np.select([level > AUDIBLE, level > AUDIBLE / 2], [0.9, 0.3], 0.0).astype(np.float32)


def voice(seed: int) -> Samples:
    """A sound that changes like speech: another spectrum ten times a second."""
    random = np.random.default_rng(seed)
    syllables = []
    for _ in range(SECONDS * SAMPLE_RATE // SYLLABLE):
        spectrum = np.fft.rfft(random.normal(0, 1, SYLLABLE))
        places = np.geomspace(1, len(spectrum), 20)
        loudness = np.interp(np.arange(len(spectrum)), places, random.uniform(-3, 0, 20))
        syllables.append(np.fft.irfft(spectrum * 10**loudness))
    sound = np.concatenate(syllables)
    return np.asarray(0.1 * sound / sound.std(), np.float32)


def only(sound: Samples, *times: tuple[float, float]) -> Samples:
    """The sound at these times, in seconds, and silence at all others."""
    kept = np.zeros_like(sound)
    for start, end in times:
        at = slice(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
        kept[at] = sound[at]
    return kept


def noise(level: float, seed: int = 9) -> Samples:
    return np.random.default_rng(seed).normal(0, level, SECONDS * SAMPLE_RATE).astype(np.float32)


def later(sound: Samples, seconds: float) -> Samples:
    return np.roll(sound, round(seconds * SAMPLE_RATE))


ANNA, BORIS, SILENCE = voice(1), voice(2), np.zeros(SECONDS * SAMPLE_RATE, np.float32)
ECHO = sum((0.5**number * later(ANNA, 0.01 + 0.03 * number) for number in range(1, 5)), SILENCE)
TURNS = [only(ANNA, (0, 3), (6, 9)), only(BORIS, (3, 6), (9, 12))]


def differ(*channels: Samples) -> bool:
    speech = ChannelSpeech(len(channels), loud)
    speech.hear(channels)
    return speech.differs


@pytest.mark.parametrize(
    "channels",
    [
        TURNS,
        [ANNA, BORIS],
        [ANNA, 0.05 * BORIS],
        [TURNS[0] + noise(0.001), TURNS[1] + noise(0.001, 8)],
        [TURNS[0] + 0.01 * TURNS[1], TURNS[1] + 0.01 * TURNS[0]],
        [ANNA, only(BORIS, (4, 6))],
        [*TURNS, SILENCE],
        [ANNA, BORIS, voice(3)],
    ],
    ids=[
        "in turns",
        "at once",
        "loud and quiet",
        "with noise",
        "hardly audible in the other one",
        "one says little",
        "and a silent channel",
        "three",
    ],
)
def test_voices_of_their_own_differ(channels: list[Samples]) -> None:
    assert differ(*channels)


@pytest.mark.parametrize(
    "channels",
    [
        [ANNA, ANNA],
        [ANNA, -ANNA],
        [ANNA, 0.1 * ANNA],
        [ANNA, later(ANNA, 0.2)],
        [later(ANNA, 0.4), ANNA],
        [ANNA, ECHO],
        [ANNA, 0.3 * ANNA + noise(0.005)],
        [TURNS[0] + 0.1 * TURNS[1], TURNS[1] + 0.1 * TURNS[0]],
        [TURNS[0] + 0.025 * TURNS[1], TURNS[1] + 0.025 * TURNS[0]],
        [TURNS[0] + 0.3 * later(TURNS[1], 0.2), TURNS[1]],
        [ANNA, SILENCE],
        [SILENCE, SILENCE],
        [ANNA, only(BORIS, (4, 4 + 0.8 * LEAST_SPEECH_S))],
        [ANNA, BORIS, 0.5 * ANNA],
    ],
    ids=[
        "twice",
        "inverted",
        "quieter",
        "later",
        "much later",
        "with echo",
        "with noise",
        "two people at two microphones",
        "two people far apart",
        "an echo of one side",
        "silence",
        "silence in both",
        "a click",
        "a copy in a third channel",
    ],
)
def test_the_same_voice_is_no_different_speech(channels: list[Samples]) -> None:
    assert not differ(*channels)


def test_a_piece_shorter_than_a_frame_is_nothing() -> None:
    # Given channels of a few samples, when they are heard
    speech = ChannelSpeech(2, loud)
    speech.hear([ANNA[:10], BORIS[:10]])
    # Then there is no speech
    assert (speech.seconds, speech.differs) == (0, False)
