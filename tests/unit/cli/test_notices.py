"""What is said of a result beside its text."""

from datetime import UTC, datetime

import pytest
from natscribe.cli.notices import MAX_LISTED_INTERVALS, RequestedOptions, notices
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.transcription import Interval, TranscriptionResult
from natscribe.schemas.wire import Model

RESULT = TranscriptionResult(
    task_id="t1",
    audio_file_id="meeting.m4a",
    user_id="anna",
    text="",
    language=None,
    duration=400,
    segments=[],
    model=Model(name="m", revision="1"),
    audio_sha256="0" * 64,
    created_at=datetime(2026, 11, 24, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("intervals", "places"),
    [
        ([(63.2, 84)], "1:03-1:24"),
        ([(63.2, 63.9)], "1:03-1:04"),
        ([(1, 2), (310, 312.5), (3700, 3720)], "0:01-0:02, 5:10-5:13, 1:01:40-1:02:00"),
    ],
)
def test_speech_without_text_is_said_with_its_places(intervals: list[tuple[float, float]], places: str) -> None:
    found = [Interval(start=start, end=end) for start, end in intervals]
    said = notices("meeting.m4a", RESULT.model_copy(update={"untranscribed": found}))
    assert said == [f"meeting.m4a: speech without text at {places}: listen there."]


def test_of_many_places_without_text_the_first_are_listed_and_where_all_are() -> None:
    # Given a recording with two places more than are listed
    found = [Interval(start=60 * minute, end=60 * minute + 5) for minute in range(MAX_LISTED_INTERVALS + 2)]
    # When that is said, then also where the others are
    (said,) = notices("meeting.m4a", RESULT.model_copy(update={"untranscribed": found}))
    assert said.count(":05") == MAX_LISTED_INTERVALS
    assert said.endswith("-11:05 and 2 more, all in `untranscribed` of --format json: listen there.")


@pytest.mark.parametrize(
    ("separate", "channels", "said"),
    [(True, None, ["call.wav has one channel: transcribed as one."]), (True, 2, []), (False, None, [])],
)
def test_channels_that_are_not_there_are_said(separate: bool, channels: int | None, said: list[str]) -> None:
    result = RESULT.model_copy(update={"channels": channels})
    assert notices("call.wav", result, RequestedOptions(separate=separate)) == said


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (RequestedOptions(fewest=3), ["a.wav: 2 speakers found, at least 3 wanted: no more can be told apart."]),
        (
            RequestedOptions(most=1),
            ["a.wav: 2 speakers found, at most 1 wanted: each channel is one; try --channels mix."],
        ),
        (RequestedOptions(fewest=2, most=2), []),
        (RequestedOptions(), []),
    ],
)
def test_a_number_of_speakers_that_was_not_kept_is_said(wanted: RequestedOptions, said: list[str]) -> None:
    assert notices("a.wav", RESULT.model_copy(update={"speakers": 2}), wanted) == said
    # Nothing is said of a result without speakers
    assert notices("a.wav", RESULT, wanted) == []


def test_of_a_diarization_nothing_is_said() -> None:
    result = DiarizationResult(
        task_id="t1",
        audio_file_id="a.wav",
        user_id=1,
        duration=1,
        speakers=0,
        segments=[],
        model=Model(name="m", revision="1"),
        audio_sha256="0" * 64,
        created_at=datetime(2026, 11, 24, tzinfo=UTC),
    )
    assert notices("a.wav", result) == []
