import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.window_audio import WindowAudio, cut_in_two, part_of


def clip(seconds: float, *speech: tuple[float, float]) -> WindowAudio:
    return WindowAudio(np.arange(seconds * SAMPLE_RATE, dtype=np.float32), speech)


def test_a_clip_is_cut_in_its_widest_silence() -> None:
    # Given pauses of 0.3 and 0.5 s
    parts = cut_in_two(clip(30, (0, 12), (12.3, 20), (20.5, 30)))

    # When the clip is cut, then in the middle of the wider one
    assert [start for start, _ in parts] == [0, 20.25]
    assert [part.seconds for _, part in parts] == [20.25, 9.75]

    # And each part keeps its samples, and its speech from its own start
    assert parts[1][1].samples[0] == 20.25 * SAMPLE_RATE
    assert parts[1][1].speech == [(0.25, 9.75)]


def test_of_silences_that_are_as_wide_the_one_in_the_middle_counts() -> None:
    parts = cut_in_two(clip(30, (0, 4), (4.5, 16), (16.5, 28), (28.5, 30)))
    assert [start for start, _ in parts] == [0, 16.25]


def test_speech_without_a_pause_is_cut_in_the_middle() -> None:
    # Given speech without a pause, when it is cut, then into halves, and nothing is lost
    parts = cut_in_two(clip(30, (0, 30)))
    assert [start for start, _ in parts] == [0, 15]
    assert sum(part.seconds for _, part in parts) == pytest.approx(30)


def test_a_part_has_the_speech_that_lies_in_it() -> None:
    part = part_of(clip(30, (0, 10), (10, 12), (15, 25), (20, 30)), 10, 20)
    assert (part.seconds, part.speech) == (10, [(0, 2), (5, 10)])
