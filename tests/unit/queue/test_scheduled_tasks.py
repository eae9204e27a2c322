"""Which scheduled task is due first."""

from datetime import UTC, datetime, timedelta

from app.tasks.queue.scheduled_tasks import ScheduledTasks

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def test_a_task_is_due_from_its_time_on_unless_it_is_cancelled() -> None:
    # Given three tasks, published in another order than that of their times
    tasks = ScheduledTasks()
    for sequence, seconds in ((1, 2), (2, 1), (3, 3)):
        tasks.add(sequence, "tasks.live.low", NOW + timedelta(seconds=seconds))
    assert tasks.first_due(NOW) is None
    assert tasks.first_due(NOW + timedelta(seconds=1)) == 2
    # When the first two are removed, then the third is due at its time
    assert [tasks.remove(sequence) for sequence in (2, 1, 1)] == [True, True, False]
    assert [tasks.first_due(NOW + timedelta(seconds=seconds)) for seconds in (2, 3)] == [None, 3]
