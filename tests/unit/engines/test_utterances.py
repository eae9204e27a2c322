"""Utterances of a recording that is still going on."""

from itertools import pairwise

import numpy as np
import pytest
from natscribe.schemas.live import MAX_UTTERANCE_S

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.timeline import Times
from app.engines.audio.utterances import UtteranceDetector
from app.engines.audio.windows import FRAME, UnpackedWindow

from .loudness import RATE, Samples, conversation, frames_missed, loudness, samples_of

KINDS = [(6.0, 1.5), (0.7, 0.4), (1.0, 20.0), (25.0, 0.1), (0.1, 0.6)]


def find(samples: Samples, start_at: float = 0.0, bit: int = 16_000) -> list[UnpackedWindow]:
    utterances = UtteranceDetector(start_at, loudness)
    windows = [window for at in range(0, len(samples), bit) for window in utterances.process(samples[at : at + bit])]
    return [*windows, *utterances.flush()]


@pytest.fixture
def utterances() -> UtteranceDetector:
    """A detector that takes what is loud for speech."""
    return UtteranceDetector(0, loudness)


def regions(windows: list[UnpackedWindow]) -> list[Times]:
    return [region for window in windows for region in window.regions]


def test_a_pause_of_half_a_second_ends_an_utterance() -> None:
    # Given two sentences with a pause of half a second, the second one with a breath of a little less in it
    samples = samples_of((0, 1.6), (1, 3.2), (0, 0.512), (1, 1.6), (0, 0.48), (1, 1.6), (0, 3.2))
    # When utterances are detected
    first, second = regions(find(samples))
    # Then each sentence is one, with 0.3 s of silence before and 0.13 s after it, and no audio is in both
    assert first == pytest.approx((1.6 - 0.288, 4.8 + 0.128))
    assert second == pytest.approx((5.312 - 0.288, 5.312 + 3.68 + 0.128))


def test_an_utterance_is_complete_half_a_second_after_its_last_word(utterances: UtteranceDetector) -> None:
    # Given a person who speaks
    assert utterances.process(samples_of((0, 1.6), (1, 3.2), (0, 0.48))) == []
    # When the pause is half a second long, then the utterance is there
    (window,) = utterances.process(samples_of((0, 0.032)))
    assert regions([window]) == [pytest.approx((1.6 - 0.288, 4.8 + 0.128))]
    # And the speech has ended
    assert utterances.open() is None


def test_the_utterance_so_far_has_its_audio_up_to_now(utterances: UtteranceDetector) -> None:
    # Given a person who speaks, when half of it is processed
    samples = samples_of((0, 1.6), (1, 3.2))
    utterances.process(samples[: 3 * SAMPLE_RATE])
    # Then the utterance so far reaches up to now
    speaking = utterances.open()
    assert speaking is not None
    assert regions([speaking]) == [pytest.approx((1.6 - 0.288, 3.0), abs=0.033)]
    start, end = (round(second * SAMPLE_RATE) for second in speaking.regions[0])
    assert np.array_equal(speaking.samples, samples[start:end])


def test_in_a_pause_nobody_speaks_until_the_next_word(utterances: UtteranceDetector) -> None:
    # Given a person who speaks, and draws breath
    utterances.process(samples_of((0, 1.6), (1, 3.2)))
    # When the breath has lasted 0.06 s, then the utterance continues; when it has lasted 0.1 s, it may be over
    utterances.process(samples_of((0, 0.064)))
    assert utterances.open() is not None
    utterances.process(samples_of((0, 0.032)))
    assert utterances.open() is None
    # And with the next word it continues from its start
    utterances.process(samples_of((1, 0.32)))
    speaking = utterances.open()
    assert speaking is not None
    assert regions([speaking]) == [pytest.approx((1.6 - 0.288, 5.216), abs=0.033)]


def test_less_probable_speech_continues_an_utterance_and_begins_none() -> None:
    # Given a detector that is as sure as the samples are loud: speech on a telephone is less probable
    def find_all(size: int) -> list[Times]:
        samples = samples_of((0, 3.2), (0.3, 3.2), (0.6, 0.64), (0.3, 1.6), (0.6, 0.64), (0.1, 3.2), (0.3, 3.2))
        utterances = UtteranceDetector(0, lambda samples: samples.reshape(-1, FRAME).min(axis=1))
        parts = (samples[at : at + size] for at in range(0, len(samples), size))
        return regions([window for part in parts for window in utterances.process(part)] + utterances.flush())

    # Then it belongs to the utterance that it follows, whatever the sizes of the jobs
    assert find_all(1600) == [pytest.approx((6.4 - 0.288, 9.28 + 0.128))]
    assert find_all(10**6) == find_all(1600)


@pytest.mark.parametrize(("probability", "end"), [(0.6, 6.4), (0.97, 3.2)], ids=["telephone", "full-bandwidth"])
def test_less_probable_speech_continues_an_utterance_only_on_telephones(probability: float, end: float) -> None:
    # Given speech that is followed by less probable speech
    utterances = UtteranceDetector(0, lambda samples: samples.reshape(-1, FRAME).min(axis=1))
    windows = utterances.process(samples_of((0, 1.6), (probability, 1.6), (0.3, 3.2), (0, 3.2)))
    # Then it belongs to the utterance if all its speech is as on a telephone
    assert regions(windows) == [pytest.approx((1.6 - 0.288, end + 0.128), abs=0.033)]


@pytest.mark.parametrize(("frames", "count"), [(3, 0), (4, 1)])
def test_a_click_is_no_utterance_and_is_not_shown_as_one(
    utterances: UtteranceDetector, frames: int, count: int
) -> None:
    # Given a noise of a few frames in silence
    # When it is processed
    utterances.process(samples_of((0, 1.6), (1, frames / RATE)))
    shown = utterances.open()
    utterances.process(samples_of((0, 0.3)))
    closing = utterances.closing()
    complete = utterances.process(samples_of((0, 3.2)))
    # Then it is an utterance only if it has four frames
    assert (len(complete), shown is not None, closing is not None) == (count, bool(count), bool(count))


def test_an_utterance_that_grows_too_long_is_cut_where_it_is_quiet() -> None:
    # Given 40 s of speech with short silences, of those after 8 to 15 s the longest at 12 s
    samples = samples_of((1, 7), (0, 0.448), (1, 4.552), (0, 0.192), (1, 2), (0, 0.096), (1, 26))
    # When utterances are detected
    first, second, *_ = regions(find(samples))
    # Then the cut is in the longest silence of the second half, and the next one begins there
    assert first == pytest.approx((0, 12.096), abs=0.033)
    assert second[0] == first[1]


def test_a_long_utterance_is_cut_while_it_continues(utterances: UtteranceDetector) -> None:
    # Given a person who never pauses, when 15 s are processed, then an utterance is complete
    assert utterances.process(samples_of((1, 14.944))) == []
    assert len(utterances.process(samples_of((1, 0.032)))) == 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("speech", "silence"), KINDS)
def test_utterances_are_short_and_in_order_and_miss_no_speech(seed: int, speech: float, silence: float) -> None:
    # Given a random alternation of speech and silence
    samples = conversation(seed, 30, speech, silence)
    # When utterances are detected
    windows = find(samples)
    # Then none is longer than 15 s, they do not overlap, and each has the audio of its time
    assert all(0 < end - start <= MAX_UTTERANCE_S for start, end in regions(windows))
    assert all(before[1] <= after[0] for before, after in pairwise(regions(windows)))
    for window in windows:
        start, end = (round(second * SAMPLE_RATE) for second in window.regions[0])
        assert np.array_equal(window.samples, samples[start:end])
    # And every loud frame lies in one of them, clicks aside
    assert frames_missed(samples, regions(windows)) <= 3


def check_same(windows: list[UnpackedWindow], expected: list[UnpackedWindow]) -> None:
    """Check that these windows have the same times and the same audio."""
    assert regions(windows) == regions(expected)
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(windows, expected, strict=True))


@pytest.mark.parametrize("bit", [1, 511, 512, 4000, 100_000])
def test_utterances_do_not_depend_on_how_the_audio_comes(bit: int) -> None:
    # Given a recording that is no whole number of frames
    samples = conversation(1, 12, 1.0, 0.6)[:-200]
    samples = samples[: 2 * SAMPLE_RATE] if bit == 1 else samples
    # When it comes in pieces of any size, then the utterances are those of a recording that comes in one
    check_same(find(samples, bit=bit), find(samples, bit=len(samples)))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("speech", "silence"), KINDS)
def test_a_worker_that_continues_after_any_utterance_finds_the_same_later_ones(
    seed: int, speech: float, silence: float
) -> None:
    # Given the utterances of an undisturbed run
    samples = conversation(seed, 12, speech, silence)
    windows = find(samples)
    # When another worker continues where an utterance ended, a time rounded as on the wire
    for done, window in enumerate(windows, start=1):
        again = find(samples, start_at=round(window.regions[-1][1], 3))
        # Then it detects exactly those that are left, and their audio
        check_same(again, windows[done:])


@pytest.mark.parametrize(("speech", "silence"), KINDS)
def test_a_worker_that_continues_at_any_complete_second_finds_the_same_later_utterances(
    utterances: UtteranceDetector, speech: float, silence: float
) -> None:
    # Given a run that reports from time to time before which second all utterances are detected
    samples = conversation(5, 10, speech, silence)
    windows, bit = find(samples), len(samples) // 17
    for at in range(0, len(samples), bit):
        utterances.process(samples[at : at + bit])
        # When another worker continues there, then it finds those that end later
        left = [window for window in windows if window.regions[0][1] > utterances.buffer.complete_until]
        assert regions(find(samples, start_at=utterances.buffer.complete_until)) == regions(left)


@pytest.mark.parametrize(("level", "most_seconds"), [(0.0, 0.3), (1.0, 15.0)], ids=["silence", "a monologue"])
def test_little_audio_is_held_whatever_comes(utterances: UtteranceDetector, level: float, most_seconds: float) -> None:
    # Given an hour of silence, or of a person who never pauses
    bit = samples_of((level, 14.4))
    for _ in range(250):
        utterances.process(bit)
        # Then what is not settled is never longer than an utterance
        assert utterances.buffer.seconds - utterances.buffer.complete_until <= most_seconds
    assert utterances.buffer.seconds == pytest.approx(3600)


def test_the_last_utterance_ends_with_the_recording() -> None:
    # Given speech up to the end of a recording, which is no whole number of frames
    samples = samples_of((0, 1.6), (1, 3.2))[:-100]
    # When it ends, then the utterance ends there, too
    (window,) = find(samples)
    assert window.regions[0][1] == len(samples) / SAMPLE_RATE
    assert len(window.samples) == round((window.regions[0][1] - window.regions[0][0]) * SAMPLE_RATE)
