"""The loads of users: who waits and runs how much, and how fairly they were served."""

import math

import pytest
from natscribe.schemas.task_queues import MAX_LISTED_USERS
from natscribe.schemas.wire import Priority, TaskType

from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.fair_queue import FairQueue, QueuedTask, Quota
from app.tasks.queue.user_loads import WINDOW_S, UserLoads, jain_index
from app.tasks.queue.user_queues import User


def add(queue: FairQueue, user: User, count: int, seconds: float = 10.0, priority: Priority = Priority.NORMAL) -> None:
    for number in range(count):
        queue.add(QueuedTask(user, TaskType.TRANSCRIPTION, priority, hash((user, number, priority)) % 2**60, seconds))


def test_the_largest_users_are_listed_with_their_figures() -> None:
    # Given more users than are listed, each with some waiting audio, and one whose only task runs
    queue = FairQueue()
    add(queue, "runs", 1, 500)
    assert queue.next(SlotPool.RECORDINGS) is not None
    for number in range(MAX_LISTED_USERS):
        add(queue, number, 1, 10 + number)
    add(queue, "анна", 3, 60, Priority.LOW)
    add(queue, "анна", 40, 100, Priority.HIGH)
    # When their loads are measured
    report = UserLoads().measure(queue, 0)
    # Then those with the most waiting audio are listed, the largest first
    first, *others = report.users
    assert (first.user_id, first.waiting, first.running, first.waiting_seconds) == ("анна", 43, 0, 4180)
    assert [load.user_id for load in others] == list(reversed(range(MAX_LISTED_USERS)))[: MAX_LISTED_USERS - 1]
    assert report.users_waiting == MAX_LISTED_USERS + 1


def test_audio_of_unknown_duration_is_estimated() -> None:
    queue = FairQueue()
    add(queue, 1, 2, math.nan)
    running = queue.next(SlotPool.RECORDINGS)
    assert running is not None
    queue.settle(running, 7.0)
    (load,) = UserLoads().measure(queue, 0).users
    assert (load.waiting, load.waiting_seconds) == (1, 7)


def test_what_was_measured_before_another_worker_held_the_lease_is_forgotten() -> None:
    # Given a user who waited when this worker held the lease, and again now that it has it back
    loads = UserLoads()
    for now, longest_wait_s in ((0, 0), (3600, 0)):
        queue = FairQueue()
        add(queue, "waits", 1)
        assert loads.measure(queue, now).longest_wait_s == longest_wait_s


def test_the_longest_wait_is_that_of_a_user_with_nothing_running() -> None:
    # Given a user who waits, and one who waits and runs
    queue, loads = FairQueue(), UserLoads()
    add(queue, "runs", 2)
    running = queue.next(SlotPool.RECORDINGS)
    assert running is not None
    assert loads.measure(queue, 0).longest_wait_s == 0
    add(queue, "waits", 1)
    # Then the wait of the former grows
    assert [loads.measure(queue, now).longest_wait_s for now in (10, 15, 70)] == [0, 5, 60]
    # And when a task of this user runs, nobody waits
    assert queue.next(SlotPool.RECORDINGS) is not None
    assert loads.measure(queue, 80).longest_wait_s == 0


@pytest.mark.parametrize(
    ("weights", "starts", "fairness"),
    [
        ({}, ["a", "b"] * 10, 1.0),
        ({"a": 3}, ["a", "a", "a", "b"] * 5, 1.0),
        ({}, ["a"] * 20, 0.5),
    ],
)
def test_shares_are_compared_by_weight(weights: dict[User, float], starts: list[str], fairness: float) -> None:
    # Given two users who have waited all the time
    queue, loads = FairQueue(lambda user: Quota(weights.get(user, 1))), UserLoads()
    for user in ("a", "b"):
        add(queue, user, 100)
    assert loads.measure(queue, 0).fairness == 1
    # When their tasks are granted
    for number, user in enumerate(starts):
        queue.resume(QueuedTask(user, TaskType.TRANSCRIPTION, Priority.NORMAL, number, 10))
    # Then their shares are compared after the window
    assert loads.measure(queue, WINDOW_S - 1).fairness == 1
    assert loads.measure(queue, WINDOW_S).fairness == pytest.approx(fairness)


@pytest.mark.parametrize(("served_at", "fairness"), [(0, 1.0), (29, 1.0), (30, 0.5)])
def test_audio_is_forgotten_with_its_part_of_the_window(served_at: float, fairness: float) -> None:
    # Given two users who wait, of whom one is served once
    queue, loads = FairQueue(), UserLoads()
    for user in ("a", "b"):
        add(queue, user, 2)
    for now in (0, served_at):
        loads.measure(queue, now)
    assert queue.next(SlotPool.RECORDINGS) is not None
    loads.measure(queue, served_at)
    # Then that counts until the tenth of the window in which it was served has passed
    assert loads.measure(queue, WINDOW_S).fairness == fairness


def test_a_user_who_runs_all_that_the_quota_allows_counts_as_served() -> None:
    queue, loads = FairQueue(lambda user: Quota(max_running=1 if user == "limited" else 0)), UserLoads()
    for user in ("limited", "free"):
        add(queue, user, 100)
    loads.measure(queue, 0)
    for number, user in enumerate(["limited", *["free"] * 9]):
        queue.resume(QueuedTask(user, TaskType.TRANSCRIPTION, Priority.NORMAL, number, 10))
    assert loads.measure(queue, WINDOW_S).fairness == 1


def test_jains_index() -> None:
    assert jain_index([]) == jain_index([0, 0]) == jain_index([3, 3, 3]) == 1
    assert jain_index([1, 0, 0, 0]) == 0.25
    assert jain_index([1, 2, 3]) == pytest.approx(36 / 42)
