"""Warnings about a result."""

import pytest
from natscribe.cli.notices import MAX_LISTED_INTERVALS, RequestedOptions, notices
from natscribe.schemas.examples import TURNS
from natscribe.schemas.transcription import Interval

from tests.unit.messages import result_of

RESULT = result_of()


@pytest.mark.parametrize(
    ("intervals", "listed"),
    [
        ([(63.2, 84)], "1:03-1:24"),
        ([(63.2, 63.9)], "1:03-1:04"),
        ([(1.2, 2.3), (2.6, 4), (4, 5)], "0:01-0:04, 0:04-0:05"),
        ([(1, 2), (310, 312.5), (3700, 3720)], "0:01-0:02, 5:10-5:13, 1:01:40-1:02:00"),
    ],
)
def test_untranscribed_speech_is_listed(intervals: list[tuple[float, float]], listed: str) -> None:
    result = RESULT.model_copy(update={"untranscribed": [Interval(start=start, end=end) for start, end in intervals]})
    (notice,) = notices("meeting.m4a", result)
    assert notice == f"meeting.m4a: speech that was not transcribed at {listed}: check the recording there."


def test_the_first_of_many_gaps_are_listed() -> None:
    # Given a recording with two gaps more than are listed
    gaps = [Interval(start=60 * minute, end=60 * minute + 5) for minute in range(MAX_LISTED_INTERVALS + 2)]
    # Then the notice says where the others are
    (notice,) = notices("meeting.m4a", RESULT.model_copy(update={"untranscribed": gaps}))
    assert notice.count(":05") == MAX_LISTED_INTERVALS
    assert "-11:05 and 2 more, all in `untranscribed` of --format json: check" in notice


@pytest.mark.parametrize(
    ("separate", "channels", "expected"),
    [(True, None, ["call.wav has one channel: transcribed as one."]), (True, 2, []), (False, None, [])],
)
def test_missing_channels_are_reported(separate: bool, channels: int | None, expected: list[str]) -> None:
    result = RESULT.model_copy(update={"channels": channels})
    assert list(notices("call.wav", result, RequestedOptions(separate_channels=separate))) == expected


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        ((3, None), ["a.wav: 2 speakers detected, 3 or more requested: no more can be distinguished."]),
        ((None, 1), ["a.wav: 2 speakers detected, at most 1 requested: each channel is one; try --channels mix."]),
        ((2, 2), []),
        ((None, None), []),
    ],
)
def test_another_number_of_speakers_than_requested_is_reported(
    requested: tuple[int | None, int | None], expected: list[str]
) -> None:
    bounds = RequestedOptions(*requested)
    assert list(notices("a.wav", RESULT.model_copy(update={"speakers": 2}), bounds)) == expected
    # And a result without speakers has no notice
    assert list(notices("a.wav", RESULT, bounds)) == []


def test_a_diarization_has_no_notice() -> None:
    assert list(notices("a.wav", TURNS)) == []
