"""How long the work on waiting tasks takes, by the lengths of their recordings and the speed of this worker."""

from datetime import UTC, datetime

import pytest
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.wire import Lane, Priority

from app.queue.priorities import QUEUE_KEYS, QueueKey, TaskQueue, TaskQueues
from app.queue.speed import TASKS_MEASURED, Speed
from app.queue.stored_message import StoredMessage

NOW = datetime.now(UTC)
HIGH, NORMAL, LOW = ((Lane.TRANSCRIPTION, priority) for priority in Priority)
MINUTE = 60.0


def fast(*, seconds: float = 0.1) -> Speed:
    """A worker that takes `seconds` for a second of sound."""
    speed = Speed()
    for kind in Lane:
        speed.note(kind, audio_seconds=MINUTE, seconds=MINUTE * seconds)
    return speed


def queues(**lengths: list[float | None]) -> TaskQueues:
    """The nine queues; `lengths` are those of the recordings that wait for transcription, by priority."""
    found: dict[QueueKey, TaskQueue] = {}
    for subject, key in QUEUE_KEYS.items():
        kind, priority = key
        here = lengths.get(priority, []) if kind is Lane.TRANSCRIPTION else []
        headers = [{} if each is None else {AUDIO_SECONDS: str(each)} for each in here]
        sample = tuple(StoredMessage(subject, at, NOW, header) for at, header in enumerate(headers, 1))
        found[key] = TaskQueue(kind, priority, len(sample), (), 0, (), sample)
    return TaskQueues(found, {}, 10_000)


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
    # When it is quick for a while, then this is soon believed
    assert speed.seconds_for(Lane.TRANSCRIPTION, MINUTE) == pytest.approx(1)


def test_a_recording_without_duration_does_not_count_for_the_speed() -> None:
    speed = Speed()
    speed.note(Lane.TRANSCRIPTION, audio_seconds=0, seconds=5)
    assert speed.seconds_for(Lane.TRANSCRIPTION, MINUTE) is None


def test_the_durations_of_the_tasks_before_count() -> None:
    # Given a recording of twenty minutes at the head of the queue
    found = queues(normal=[1200, 10, 10])
    # Then nobody waits for it who is before it, and all who are behind it do
    assert [found.work_on({NORMAL: before}, fast()) for before in (0, 1, 2)] == [0, 120, 121]


def test_more_urgent_tasks_count_as_well() -> None:
    found = queues(high=[600, 600], normal=[10, 10])
    assert found.work_on({NORMAL: 1, HIGH: 2}, fast()) == 121
    assert found.work_on({NORMAL: 0, HIGH: 1}, fast()) == 60


def test_unread_tasks_count_as_the_average_of_their_queue() -> None:
    found = queues(normal=[10, 30])
    assert found.work_on({NORMAL: 100}, fast()) == 200
    # And never as the recordings of another queue do
    found = queues(high=[60] * 64, normal=[60] * 60, low=[3 * 3600] * 64)
    assert found.work_on({NORMAL: 59, HIGH: 180, LOW: 0}, fast()) == pytest.approx((59 + 180) * 6)
    assert found.work_on({NORMAL: 59, HIGH: 180, LOW: 2}, fast()) == pytest.approx((59 + 180) * 6 + 2 * 1080)


def test_an_unknown_duration_makes_the_estimate_unknown() -> None:
    # Given a recording whose publisher has not told its length
    found = queues(normal=[10, None, 10])
    # Then only those behind it wait for an unknown time
    assert found.work_on({NORMAL: 1}, fast()) == 1
    assert found.work_on({NORMAL: 2}, fast()) is None
    # And without a speed, or without anything that was read, nothing is known of those before
    assert found.work_on({NORMAL: 1}, Speed()) is None
    assert found.work_on({NORMAL: 0, HIGH: 1}, fast()) is None
