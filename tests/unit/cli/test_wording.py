"""Descriptions of events and results."""

from datetime import datetime

import pytest
from natscribe.cli.wording import clock, describe, interval, segment_line, turns
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import Stage, State

from tests.unit.messages import progress_event, result_of, segment

QUEUED = progress_event(state=State.QUEUED)
ERROR = ErrorDetail(code=ErrorCode.TIMEOUT, message="It took too long.")


@pytest.mark.parametrize(("seconds", "words"), [(0, "0:00"), (61.9, "1:01"), (3723, "1:02:03")])
def test_seconds_are_formatted_as_a_clock(seconds: float, words: str) -> None:
    assert clock(seconds) == words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "queued"),
        ({"queue_position": 3}, "queued, position 3"),
        (
            {"state": State.SCHEDULED, "not_before": datetime(2026, 12, 1, 9).astimezone()},
            "scheduled for 2026-12-01 09:00",
        ),
        (
            {"state": State.RUNNING, "stage": Stage.TRANSCRIBING, "processed_seconds": 5, "duration_seconds": 65},
            "transcribing, 0:05 of 1:05",
        ),
        ({"state": State.RUNNING, "attempt": 2, "eta_seconds": 9}, "running, about 0:09 left, attempt 2"),
        (
            {"state": State.RETRYING, "error": ERROR},
            "attempt 1 of 4 failed, trying again: It took too long. (timeout)",
        ),
        ({"state": State.FAILED, "error": ERROR}, "failed: It took too long. (timeout)"),
        ({"state": State.CANCELLED}, "cancelled"),
    ],
)
def test_an_event_is_described(changes: dict[str, object], words: str) -> None:
    assert describe(QUEUED.model_copy(update=changes)) == words


@pytest.mark.parametrize(
    ("age", "words"),
    [
        (0, "running, about 0:09 left"),
        (4, "running, about 0:05 left"),
        (9, "running"),
        (13, "running, no event for 0:13"),
    ],
)
def test_the_remaining_time_decreases(age: float, words: str) -> None:
    event = QUEUED.model_copy(update={"state": State.RUNNING, "eta_seconds": 9})
    assert describe(event, age=age) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(150.5, "queued, position 3, behind 2:30 of audio"), (0, "queued, position 3"), (None, "queued, position 3")],
)
def test_the_audio_of_the_tasks_before_a_task_is_shown(seconds: float | None, words: str) -> None:
    assert describe(QUEUED.model_copy(update={"queue_position": 3, "seconds_ahead": seconds})) == words


def test_a_segment_line_has_its_speaker_if_known() -> None:
    assert segment_line(segment(61, " Hello.")) == "[1:01] Hello."
    assert segment_line(segment(61, " Hello.", "SPEAKER_01")) == "[1:01] SPEAKER_01: Hello."


def test_consecutive_segments_of_a_speaker_are_one_turn() -> None:
    # Given three segments of two speakers
    first, second = "SPEAKER_00", "SPEAKER_01"
    result = result_of(segment(0, "One.", first), segment(1, "Two.", first), segment(2, "Three.", second))
    # Then there are two turns
    assert list(turns(result)) == [("0:00", "SPEAKER_00", "One. Two."), ("0:02", "SPEAKER_01", "Three.")]


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [(6.24, 7.98, "0:06.2-0:08.0"), (59.96, 3723, "1:00.0-1:02:03.0"), (2.3, 2.35, "0:02.3-0:02.4")],
)
def test_an_interval_has_tenths_of_seconds(start: float, end: float, words: str) -> None:
    assert interval(start, end) == words
