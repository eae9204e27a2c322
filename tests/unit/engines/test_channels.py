"""Whether channels carry different speech; the detector of these tests takes all loud audio for speech."""

import numpy as np
import pytest

from app.engines.audio.channels import MIN_SPEECH_S, ChannelSpeech
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, Probabilities

AUDIBLE = 0.003
SYLLABLE = SAMPLE_RATE // 10  # samples
SECONDS = 12


def loud(samples: Samples) -> Probabilities:
    """Loud audio is just speech, and less loud audio may be just speech."""
    level = np.sqrt((samples.reshape(-1, FRAME) ** 2).mean(axis=1))
    return np.select([level > AUDIBLE, level > AUDIBLE / 2], [0.5, 0.15], 0.0).astype(np.float32)


def voice(seed: int) -> Samples:
    """Audio that changes like speech: another spectrum ten times a second."""
    random = np.random.default_rng(seed)
    syllables = []
    for _ in range(SECONDS * SAMPLE_RATE // SYLLABLE):
        spectrum = np.fft.rfft(random.normal(0, 1, SYLLABLE))
        frequencies = np.geomspace(1, len(spectrum), 20)
        loudness = np.interp(np.arange(len(spectrum)), frequencies, random.uniform(-3, 0, 20))
        syllables.append(np.fft.irfft(spectrum * 10**loudness))
    voice = np.concatenate(syllables)
    return np.asarray(0.1 * voice / voice.std(), np.float32)


def only(voice: Samples, *times: tuple[float, float]) -> Samples:
    """The audio at these times, in seconds, and silence at all others."""
    result = np.zeros_like(voice)
    for start, end in times:
        at = slice(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))
        result[at] = voice[at]
    return result


def noise(level: float, seed: int = 9) -> Samples:
    return np.random.default_rng(seed).normal(0, level, SECONDS * SAMPLE_RATE).astype(np.float32)


def later(voice: Samples, seconds: float) -> Samples:
    return np.roll(voice, round(seconds * SAMPLE_RATE))


ANNA, BORIS, SILENCE = voice(1), voice(2), np.zeros(SECONDS * SAMPLE_RATE, np.float32)
ECHO = sum((0.5**number * later(ANNA, 0.01 + 0.03 * number) for number in range(1, 5)), SILENCE)
TURNS = [only(ANNA, (0, 3), (6, 9)), only(BORIS, (3, 6), (9, 12))]


def differ(*channels: Samples) -> bool:
    speech = ChannelSpeech(len(channels), loud)
    speech.add(channels)
    return speech.differs


DIFFERENT = {
    "in turns": TURNS,
    "at once": [ANNA, BORIS],
    "loud and quiet": [ANNA, 0.05 * BORIS],
    "with noise": [TURNS[0] + noise(0.001), TURNS[1] + noise(0.001, 8)],
    "hardly audible in the other one": [TURNS[0] + 0.01 * TURNS[1], TURNS[1] + 0.01 * TURNS[0]],
    "one says little": [ANNA, only(BORIS, (4, 6))],
    "and a silent channel": [*TURNS, SILENCE],
    "three": [ANNA, BORIS, voice(3)],
}


@pytest.mark.parametrize("channels", DIFFERENT.values(), ids=DIFFERENT)
def test_voices_of_their_own_differ(channels: list[Samples]) -> None:
    assert differ(*channels)


THE_SAME = {
    "twice": [ANNA, ANNA],
    "inverted": [ANNA, -ANNA],
    "quieter": [ANNA, 0.1 * ANNA],
    "later": [ANNA, later(ANNA, 0.2)],
    "much later": [later(ANNA, 0.496), ANNA],
    "with echo": [ANNA, ECHO],
    "with noise": [ANNA, 0.3 * ANNA + noise(0.005)],
    "two people at two microphones": [TURNS[0] + 0.1 * TURNS[1], TURNS[1] + 0.1 * TURNS[0]],
    "two people far apart": [TURNS[0] + 0.025 * TURNS[1], TURNS[1] + 0.025 * TURNS[0]],
    "an echo of one side": [TURNS[0] + 0.3 * later(TURNS[1], 0.2), TURNS[1]],
    "silence": [ANNA, SILENCE],
    "silence in both": [SILENCE, SILENCE],
    "a click": [ANNA, only(BORIS, (4, 4 + 0.8 * MIN_SPEECH_S))],
    "a copy in a third channel": [ANNA, BORIS, 0.5 * ANNA],
}


@pytest.mark.parametrize("channels", THE_SAME.values(), ids=THE_SAME)
def test_the_same_voice_is_no_different_speech(channels: list[Samples]) -> None:
    assert not differ(*channels)


def test_a_piece_shorter_than_a_frame_is_nothing() -> None:
    # Given channels of a few samples, when they are processed
    speech = ChannelSpeech(2, loud)
    speech.add([ANNA[:10], BORIS[:10]])
    # Then there is no speech
    assert (speech.seconds, speech.differs) == (0, False)
    # Until there is some: speech in any channel counts
    speech.add(TURNS)
    assert speech.seconds == pytest.approx(SECONDS, abs=0.1)
