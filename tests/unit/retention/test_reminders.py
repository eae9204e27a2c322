"""When something of an ended task has to be erased."""

from datetime import UTC, datetime, timedelta

import pytest
from natscribe.schemas.diarization import DiarizationTask

from app.tasks.retention.reminders import make_reminder
from app.tasks.task_log.record import Metadata

ENDED = datetime(2026, 11, 26, tzinfo=UTC)
DAY = 24 * 3600


@pytest.mark.parametrize(
    ("audio_ttl", "keep", "recording", "task"),
    [
        (30 * DAY, None, 30 * DAY, 30 * DAY),
        (DAY, None, DAY, 30 * DAY),  # the dead letter may stay for 30 days
        (90 * DAY, None, 90 * DAY, 90 * DAY),
        (0, None, None, 30 * DAY),
        (None, None, None, 30 * DAY),
        (30 * DAY, 60, 60, 60),
        (DAY, 2 * DAY, DAY, 2 * DAY),
        (0, 60, 60, 60),
        (None, 60, None, 60),
    ],
)
def test_each_part_of_a_task_has_its_retention_time(
    audio_ttl: float | None, keep: int | None, recording: float | None, task: float
) -> None:
    # Given a task that has ended
    ended = DiarizationTask(task_id="t1", audio_file_id="a.flac", user_id=1, keep_seconds=keep)
    metadata = Metadata(ended, 1, "tasks.diarization.high", ENDED)
    # When its reminder is made
    reminder = make_reminder(ended, metadata, ended_at=ENDED, audio_ttl=audio_ttl)
    # Then it has the times until which the recording and the task are stored
    assert reminder.recording_until == (None if recording is None else ENDED + timedelta(seconds=recording))
    assert reminder.task_until == ENDED + timedelta(seconds=task)
    assert reminder.everything is (keep is not None)
    # And it is due when the first of them has to go
    assert reminder.due_at == min(reminder.recording_until or reminder.task_until, reminder.task_until)
    assert reminder.is_of_recording_only is (recording is not None and recording < task)


@pytest.mark.parametrize("audio_ttl", [DAY, 90 * DAY, None])
def test_a_postponed_reminder_retains_its_fields(audio_ttl: float | None) -> None:
    # Given a reminder that becomes due in a day or later
    ended = DiarizationTask(task_id="t1", audio_file_id="a.flac", user_id=1)
    metadata = Metadata(ended, 1, "tasks.diarization.high", ENDED)
    reminder = make_reminder(ended, metadata, ended_at=ENDED, audio_ttl=audio_ttl)
    # When it has to wait for sixty days
    later = ENDED + timedelta(days=60)
    postponed = reminder.not_before(later)
    # Then nothing is erased earlier, and what was to stay for longer stays
    assert postponed.due_at == max(reminder.due_at, later)
    assert postponed.task_until == max(reminder.task_until, later)
    assert (postponed.recording_until is None) is (audio_ttl is None)
