"""The turns of users who have been served equally, and of tasks of different priorities."""

import pytest
from natscribe.schemas.wire import Priority, TaskType

from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.fair_queue import FairQueue, QueuedTask


def queued(user: str, sequence: int, seconds: float = 10.0, priority: Priority = Priority.NORMAL) -> QueuedTask:
    return QueuedTask(user, TaskType.TRANSCRIPTION, priority, sequence, seconds)


def test_users_who_have_been_served_equally_start_in_the_order_in_which_they_came() -> None:
    # Given four users with a task each
    queue = FairQueue()
    waiting = [queued(user, sequence) for sequence, user in enumerate("dbca", 1)]
    for task in waiting:
        queue.add(task)
    # When they are located, then each is behind those that came before, and so they start
    assert [queue.before(task) for task in waiting] == [(number, 10.0 * number) for number in range(4)]
    started = [queue.next(SlotPool.RECORDINGS) for _ in waiting]
    assert [task and task.user for task in started] == ["d", "b", "c", "a"]


@pytest.mark.parametrize("reconsidered", ["a", "b"])
def test_reconsidering_one_user_often_takes_no_turn_from_another(reconsidered: str) -> None:
    queue = FairQueue()
    for sequence, user in enumerate("ab", 1):
        queue.add(queued(user, sequence))
    for _ in range(1000):
        queue.reconsider(reconsidered)
    started = [queue.next(SlotPool.RECORDINGS), queue.next(SlotPool.RECORDINGS)]
    assert {task.user for task in started if task} == {"a", "b"}


def test_the_tasks_of_another_priority_count_as_the_mean_of_the_first_of_each_user() -> None:
    # Given urgent tasks of two users, of whom one has a second, long one
    queue = FairQueue()
    for sequence, (user, seconds) in enumerate([("a", 10.0), ("b", 20.0), ("a", 3600.0)], 1):
        queue.add(queued(user, sequence, seconds, Priority.HIGH))
    # When a task waits behind the three of them, then their audio is estimated
    last = queued("c", 4, priority=Priority.LOW)
    queue.add(last)
    assert queue.before(last) == (3, 45.0)
