import numpy as np
import pytest

from app.engines.clips import Clip, cut
from app.engines.mixing import SAMPLE_RATE


def clip(seconds: float, *speech: tuple[float, float]) -> Clip:
    return Clip(np.arange(seconds * SAMPLE_RATE, dtype=np.float32), speech)


def test_a_clip_that_is_short_enough_stays_whole() -> None:
    # Given a clip as long as may be, when it is cut, then it is one part
    whole = clip(25, (0, 25))
    assert cut(whole, 25) == [(0.0, whole)]


def test_a_clip_is_cut_in_its_widest_silence() -> None:
    # Given pauses of .3 and .5 s, and a longer one too early to be cut in
    parts = cut(clip(30, (0, 2), (4, 12), (12.3, 20), (20.5, 30)), 25)

    # When the clip is cut, then in the middle of the longest pause that leaves both parts short enough
    assert [start for start, _ in parts] == [0, 20.25]
    assert [part.seconds for _, part in parts] == [20.25, 9.75]

    # And each part keeps its samples, and its speech from its own start
    assert parts[1][1].samples[0] == 20.25 * SAMPLE_RATE
    assert parts[1][1].speech == [(0.25, 9.75)]


def test_speech_without_a_pause_is_cut_in_the_middle() -> None:
    # Given speech without a pause
    parts = cut(clip(30, (0, 30)), 12)

    # When it is cut, then into parts of which none is too long and nothing is lost
    assert [start for start, _ in parts] == [0, 7.5, 15, 22.5]
    assert sum(part.seconds for _, part in parts) == pytest.approx(30)
