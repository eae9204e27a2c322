"""Which speech of a channel is crosstalk: the voice of the other one."""

from collections.abc import Sequence

import numpy as np
import pytest

from app.engines.audio import crosstalk
from app.engines.audio.crosstalk import Crosstalk
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.windows import FRAME, UnpackedWindow

from .test_channels import ANNA, BORIS, SECONDS, TURNS, later, noise, only

FRAMES = SECONDS * SAMPLE_RATE // FRAME
BLOCK = 16 * FRAME  # samples that are compared at once
LEAK = 10 ** (-30 / 20)


def own_speech(channels: Sequence[Samples], channel: int, job_s: float = 0.1, first: int = 0) -> list[bool]:
    """For each second of a channel, whether most of its speech is its own; audio arrives in jobs of this length."""
    detector, job = Crosstalk(first), round(job_s * SAMPLE_RATE)
    for at in range(0, len(channels[0]), job):
        for number, samples in enumerate(channels):
            detector.append(number, samples[at : at + job])
    region = (first * FRAME / SAMPLE_RATE, first * FRAME / SAMPLE_RATE + SECONDS)
    utterance = UnpackedWindow([region], channels[channel], np.full(FRAMES, 0.9, np.float32))
    speech = detector.without(channel, utterance).speech
    return [bool(np.mean(second) > 0.45) for second in np.array_split(speech, SECONDS)]


LEAKS = {
    "at -30 dB": [TURNS[0] + LEAK * TURNS[1], TURNS[1] + LEAK * TURNS[0]],
    "with noise": [TURNS[0] + LEAK * TURNS[1] + noise(0.0005), TURNS[1] + LEAK * TURNS[0] + noise(0.0005, 8)],
    "in a call with a side that is 10 dB quieter": [TURNS[0] + 0.2 * TURNS[1], 0.3 * (TURNS[1] + 0.2 * TURNS[0])],
    "as an echo, 0.4 s later": [TURNS[0] + 0.1 * later(TURNS[1], 0.4), TURNS[1] + 0.1 * later(TURNS[0], 0.4)],
}


@pytest.mark.parametrize("channels", LEAKS.values(), ids=LEAKS)
def test_the_voice_of_the_other_channel_is_crosstalk(channels: Sequence[Samples]) -> None:
    # Given a call in which the first person speaks in seconds 0 to 2 and 6 to 8, and the second in the others
    first = [number // 3 % 2 == 0 for number in range(SECONDS)]
    assert own_speech(channels, 0) == first
    assert own_speech(channels, 1) == [not own for own in first]
    # And that does not depend on how the audio arrives, and where it begins
    assert own_speech(channels, 0, job_s=SECONDS, first=1000) == first


def muted_channel(channel: Samples, other: Samples, part_s: float = 0.7, other_part_s: float = 0.7) -> Samples:
    """The samples of a channel without crosstalk; the audio arrives in parts of these lengths."""
    lengths = [(channel, part_s), (other, other_part_s)]
    parts = [np.array_split(samples, max(1, round(len(samples) / SAMPLE_RATE / part))) for samples, part in lengths]
    return np.concatenate(list(Crosstalk(0).mute(*((part for part in split) for split in parts))))


@pytest.mark.parametrize("part_s", [0.1, 0.7, SECONDS])
@pytest.mark.parametrize("other_part_s", [0.3, SECONDS])
def test_crosstalk_of_a_recording_is_muted(part_s: float, other_part_s: float) -> None:
    # Given a call in which the first channel has crosstalk in every other turn of 3 s
    channels = LEAKS["at -30 dB"]

    # When it is muted, then at most a block of each turn is not silent, and own speech is unchanged but for a block
    muted = muted_channel(channels[0], channels[1], part_s, other_part_s)
    turns = [np.array_split(samples, SECONDS // 3) for samples in (channels[0], muted)]
    kept = [np.mean(after == before) for before, after in zip(*turns, strict=True)]
    assert kept == pytest.approx([1, 0] * (SECONDS // 6), abs=0.2)
    assert not muted[muted != channels[0]].any()


@pytest.mark.parametrize("other", [0.0, 4.0, SECONDS - 0.1])
def test_nothing_is_muted_after_the_end_of_the_other_channel(other: float) -> None:
    # Given the echo of a channel that ends earlier, as in a file that goes on with one channel
    end = round(other * SAMPLE_RATE)
    muted = muted_channel(LEAK * ANNA, ANNA[:end])
    # Then no audio is lost, and what comes later than an echo could is as it was
    assert len(muted) == len(ANNA)
    assert (muted[end + SAMPLE_RATE :] == (LEAK * ANNA)[end + SAMPLE_RATE :]).all()


@pytest.mark.parametrize("blocks", [slice(10, 11), slice(-1, None)], ids=["in the middle", "at the end"])
def test_a_single_block_that_resembles_the_other_channel_is_not_muted(blocks: slice) -> None:
    # Given two people who speak at the same time, and are alike for a block
    end = len(ANNA) // BLOCK * BLOCK
    quiet, loud = 0.2 * BORIS[:end], ANNA[:end]
    quiet.reshape(-1, BLOCK)[blocks] = 0.1 * loud.reshape(-1, BLOCK)[blocks]
    # Then all of it is kept, also if the recording ends within the next block
    assert (muted_channel(quiet, loud) == quiet).all()
    assert (
        muted_channel(np.append(quiet, BORIS[: BLOCK // 2]), np.append(loud, ANNA[: BLOCK // 2]))[:end] == quiet
    ).all()


def test_an_echo_may_be_nearly_a_second_late() -> None:
    assert not any(own_speech([0.1 * later(ANNA, 0.9), ANNA], 0)[1:])


OWN = {
    "at once": [ANNA, BORIS],
    "at once, and quietly": [0.2 * ANNA, BORIS],
    "over an echo": [ANNA + LEAK * BORIS, BORIS],
    "as loud as in the other channel": [ANNA, ANNA],
}


@pytest.mark.parametrize("channels", OWN.values(), ids=OWN)
def test_speech_of_the_channel_is_no_crosstalk(channels: Sequence[Samples]) -> None:
    assert own_speech(channels, 0) == [True] * SECONDS


def test_half_a_second_that_resembles_the_other_channel_is_no_crosstalk() -> None:
    # Given two people who speak at the same time, and are alike for a block, as happens by chance
    block = slice(10 * BLOCK, 11 * BLOCK)
    quiet = 0.2 * BORIS
    quiet[block] = 0.1 * ANNA[block]
    assert own_speech([quiet, ANNA], 0) == [True] * SECONDS
    # But two such blocks are crosstalk
    quiet[10 * BLOCK : 12 * BLOCK] = 0.1 * ANNA[10 * BLOCK : 12 * BLOCK]
    assert own_speech([quiet, ANNA], 0).count(False) == 1


def test_speech_of_a_quiet_channel_is_no_crosstalk_of_its_echo() -> None:
    # Given a side that is so quiet that its echo in the other channel is louder, after the other side has spoken
    channels = [LEAK * ANNA, only(BORIS, (0, 1)) + 0.1 * ANNA]
    assert all(own_speech(channels, 0)[2:])


def test_what_was_not_compared_yet_counts_as_what_was_before_it() -> None:
    # Given an echo whose last third of a second has not arrived in the other channel
    detector = Crosstalk(0)
    detector.append(0, LEAK * ANNA)
    utterance = UnpackedWindow([(0, SECONDS)], ANNA, np.full(FRAMES, 0.9, np.float32))
    # Then nothing is known before the other channel arrives, and all of it afterwards
    assert detector.without(0, utterance).speech.mean() == pytest.approx(0.9)
    detector.append(1, ANNA[: -SAMPLE_RATE // 3])
    assert detector.without(0, utterance).speech[-20:].mean() == 0


def test_silence_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given that spectrograms take too long for hours of audio that another worker has processed, i.e. silence here
    monkeypatch.setattr(crosstalk, "spectrogram", lambda _: pytest.fail("compared"))
    spoken = own_speech([ANNA, np.zeros_like(ANNA)], 0)
    # Then it is no crosstalk
    assert all(spoken)
