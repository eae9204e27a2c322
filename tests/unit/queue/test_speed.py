"""How long the work on audio takes, by the speed of this worker."""

import pytest
from natscribe.schemas.wire import Lane

from app.queue.speed import TASKS_MEASURED, Speed

MINUTE = 60.0


def fast(*, seconds: float = 0.1) -> Speed:
    """A worker that takes `seconds` for a second of audio."""
    speed = Speed()
    for kind in Lane:
        speed.note(kind, audio_seconds=MINUTE, seconds=MINUTE * seconds)
    return speed


def test_the_speed_is_unknown_until_a_task_has_ended() -> None:
    speed = Speed()
    assert speed.seconds_for(Lane.TRANSCRIPTION, MINUTE) is None
    speed.note(Lane.TRANSCRIPTION, audio_seconds=100, seconds=5)
    assert speed.seconds_for(Lane.TRANSCRIPTION, 1200) == 60
    assert speed.seconds_for(Lane.TRANSCRIPTION, None) is None
    # And each kind of task has a speed of its own
    assert speed.seconds_for(Lane.DIARIZATION, MINUTE) is None


def test_only_the_latest_tasks_count() -> None:
    # Given a worker that was slow
    speed = fast(seconds=10)
    for _ in range(TASKS_MEASURED):
        speed.note(Lane.TRANSCRIPTION, audio_seconds=MINUTE, seconds=1)
    # When it is fast for a while, then the estimate soon follows
    assert speed.seconds_for(Lane.TRANSCRIPTION, MINUTE) == pytest.approx(1)


def test_a_recording_without_duration_does_not_count_for_the_speed() -> None:
    speed = Speed()
    speed.note(Lane.TRANSCRIPTION, audio_seconds=0, seconds=5)
    assert speed.seconds_for(Lane.TRANSCRIPTION, MINUTE) is None
