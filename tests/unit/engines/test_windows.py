from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from app.engines.messages import LONGEST_WINDOW
from app.engines.mixing import SAMPLE_RATE
from app.engines.windows import FRAME, Window, blocks, listen, next_window

Samples = npt.NDArray[np.float32]
RATE = SAMPLE_RATE / FRAME


def loudness(samples: Samples) -> npt.NDArray[np.float32]:
    """A voice detector that takes whatever is loud for speech."""
    return np.asarray(np.abs(samples.reshape(-1, FRAME)).max(axis=1), np.float32)


def sound(*stretches: tuple[float, float]) -> Samples:
    """Loudness and seconds of each stretch, in whole frames."""
    return np.concatenate([np.full(round(seconds * RATE) * FRAME, level, np.float32) for level, seconds in stretches])


def find(samples: Samples, start_at: float = 0.0, piece: int = 4096) -> list[Window]:
    pieces = (samples[at : at + piece] for at in range(0, len(samples), piece))
    return [window for heard in listen(pieces, start_at, loudness) for window in heard.windows]


def stretches(windows: list[Window]) -> list[tuple[float, float]]:
    return [(window.start, window.end) for window in windows]


def test_blocks_begin_at_fixed_places_and_lose_nothing() -> None:
    # Given a recording in pieces of any size
    samples = np.arange(SAMPLE_RATE * 150 + 7, dtype=np.float32)

    # When it is gathered into blocks from small and from large pieces
    small = list(blocks(samples[at : at + 1000] for at in range(0, len(samples), 1000)))
    large = list(blocks([samples]))

    # Then both give the same blocks, and together they are the recording
    assert [len(block) for block in small] == [len(block) for block in large]
    assert np.array_equal(np.concatenate(small), samples)


def test_silence_has_no_windows_but_is_listened_to() -> None:
    # Given 100 s of silence
    samples = sound((0.0, 100))

    # When it is listened to
    heard = list(listen([samples], detector=loudness))

    # Then nothing is found, and all of it was heard
    assert not any(each.windows for each in heard)
    assert heard[-1].last
    assert heard[-1].seconds == pytest.approx(100, abs=0.04)


def test_a_long_silence_ends_a_window_and_a_short_one_does_not() -> None:
    # Given speech with a gap of one second and one of five
    samples = sound((0.0, 3.2), (1.0, 3.2), (0.0, 0.96), (1.0, 3.2), (0.0, 4.8), (1.0, 3.2))

    # When windows are found
    found = stretches(find(samples))

    # Then the first two stretches share a window, and each has a little silence around it
    assert found == [(2.816, 10.944), (14.976, 18.56)]


def test_a_click_is_no_speech() -> None:
    # Given three loud frames in silence
    samples = sound((0.0, 5), (1.0, 0.096), (0.0, 5))

    # When windows are found, then there are none
    assert find(samples) == []


def test_long_speech_is_cut_in_the_longest_silence_of_the_later_half() -> None:
    # Given 40 s of speech with a short silence at 15 s and a longer one at 20 s
    samples = sound((1.0, 16), (0.0, 0.32), (1.0, 3.68), (0.0, 0.64), (1.0, 20))

    # When windows are found
    first, second = stretches(find(samples))

    # Then the cut is in the middle of the longer silence, and nothing is lost between the two
    assert first == (0.0, 20.32)
    assert second[0] == first[1]


def test_speech_without_any_silence_is_cut_where_it_is_least_like_speech() -> None:
    # Given a minute of unbroken speech with a weak place
    speech = np.ones(2000, np.float32)
    speech[700] = 0.6

    # When the first window is asked for, then it ends there
    assert next_window(speech, whole=False) == (0, 700)


def test_the_first_window_needs_no_more_than_the_first_block() -> None:
    # Given somebody who begins after three seconds and does not pause
    samples = sound((0, 3), (1, 90))

    # When the first block is heard
    first = next(listen([samples[at : at + 4096] for at in range(0, len(samples), 4096)], 0.0, loudness))

    # Then there is something to be transcribed
    assert len(first.windows) == 1


@pytest.mark.parametrize("seed", range(5))
def test_windows_are_short_and_in_order_and_miss_no_speech(seed: int) -> None:
    # Given a random alternation of speech and silence
    random = np.random.default_rng(seed)
    samples = sound(*((float(at % 2), float(random.exponential(6 if at % 2 else 1.5)) + 0.2) for at in range(60)))

    # When windows are found
    windows = find(samples)

    # Then none is longer than what a model hears at once, they do not overlap, and every loud frame lies in one of them
    assert all(window.end - window.start <= LONGEST_WINDOW < 30 for window in windows)
    assert all(before.end <= after.start for before, after in pairwise(windows))
    inside = np.zeros(len(samples), bool)
    for window in windows:
        inside[round(window.start * SAMPLE_RATE) : round(window.end * SAMPLE_RATE)] = True
        assert len(window.samples) == round((window.end - window.start) * SAMPLE_RATE)
    assert inside[samples > 0.5].all()


@pytest.mark.parametrize("seed", range(5))
def test_resuming_after_any_window_finds_the_same_windows(seed: int) -> None:
    # Given the windows of an uninterrupted run
    random = np.random.default_rng(seed)
    samples = sound(*((float(at % 2), float(random.exponential(6 if at % 2 else 1.5)) + 0.2) for at in range(40)))
    windows = find(samples)

    # When a run resumes where a window ended, with that time rounded to milliseconds as on the wire
    for done, window in enumerate(windows, start=1):
        again = find(samples, start_at=round(window.end, 3))

        # Then it finds exactly those that are left
        assert stretches(again) == stretches(windows[done:])
