from dataclasses import dataclass

import pytest

from app.engines.diarization import Bounds, named


@dataclass
class Found:
    start: float
    end: float
    speaker: int


def test_speakers_are_numbered_by_first_appearance() -> None:
    # Given segments of speakers in the library's own numbering
    found = [Found(-0.1, 1, 7), Found(1, 2, 3), Found(2, 3, 7), Found(3, 4, 0)]

    # When they are named
    turns = named(found)

    # Then the first to speak is the first, and no turn begins before the recording
    assert [turn.speaker for turn in turns] == ["SPEAKER_00", "SPEAKER_01", "SPEAKER_00", "SPEAKER_02"]
    assert turns[0].start == 0


@pytest.mark.parametrize(
    ("least", "most", "found", "nearest"),
    [(2, 4, 1, 2), (2, 4, 3, 3), (2, 4, 9, 4), (None, 2, 5, 2), (3, None, 1, 3), (None, None, 6, 6)],
)
def test_the_nearest_number_within_the_bounds(least: int | None, most: int | None, found: int, nearest: int) -> None:
    # Given bounds, when a number of speakers was found, then the nearest allowed one is wanted
    assert Bounds(least, most).nearest(found) == nearest


def test_equal_bounds_are_an_exact_number() -> None:
    assert Bounds(3, 3).exact == 3
    assert Bounds(2, 3).exact is None
    assert Bounds(None, None).exact is None
