"""The position of a waiting task among all that wait."""

from collections import Counter

import pytest
from natscribe.schemas.wire import Lane, Priority

from app.queue.estimates import seconds_until_free, served_before
from app.queue.priorities import PATIENCE, PriorityOrder, QueueKey
from tests.unit.queue.test_priorities import serve

HIGH, NORMAL, LOW = Priority
RECORDINGS = TRANSCRIPTION, DIARIZATION = (Lane.TRANSCRIPTION, Lane.DIARIZATION)


def waiting(high: int = 0, normal: int = 0, low: int = 0, *, others: int = 0) -> dict[tuple[Lane, Priority], int]:
    """So many transcriptions of each priority, and so many normal diarizations."""
    found = {(DIARIZATION, priority): 0 for priority in Priority} | {(DIARIZATION, NORMAL): others}
    return found | dict(zip(((TRANSCRIPTION, priority) for priority in Priority), (high, normal, low), strict=True))


def position_number(waiting: dict[QueueKey, int], kind: Lane, priority: Priority, turn: int) -> int:
    """The position of a task: behind all that are served before."""
    return 1 + sum(served_before(waiting, (kind, priority), turn).values())


@pytest.mark.parametrize(
    ("queues", "priority", "turn", "expected"),
    [
        (waiting(normal=5), NORMAL, 5, 5),  # nobody else is there
        (waiting(normal=5, others=2), NORMAL, 5, 7),  # the other kind takes turns
        (waiting(normal=5, others=100), NORMAL, 3, 5),
        (waiting(high=2, normal=5), NORMAL, 5, 7),  # what is high goes first
        (waiting(high=1000, normal=5), NORMAL, 5, 20),  # but every fourth task is normal
        (waiting(high=1000, normal=1000, low=1), LOW, 1, 16),  # and every sixteenth low
        (waiting(high=2, normal=3, low=4), LOW, 4, 9),
        (waiting(high=30, normal=1000, low=1000), HIGH, 30, 42),  # ten of them normal, two low
        (waiting(high=1), HIGH, 1, 1),
    ],
)
def test_the_position_among_all_tasks(
    queues: dict[tuple[Lane, Priority], int], priority: Priority, turn: int, expected: int
) -> None:
    assert position_number(queues, TRANSCRIPTION, priority, turn) == expected


@pytest.mark.parametrize("priority", list(Priority))
def test_no_two_tasks_of_a_priority_have_the_same_position(priority: Priority) -> None:
    # Given as many tasks of each kind
    queues = dict.fromkeys(waiting(), 0) | {(kind, priority): 3 for kind in RECORDINGS}
    # When their positions are computed
    positions = [position_number(queues, kind, priority, turn) for kind in RECORDINGS for turn in (1, 2, 3)]
    # Then one is the next, and so on
    assert sorted(positions) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("priority", list(Priority))
def test_the_position_is_about_true(priority: Priority) -> None:
    # Given queues of any length, and workers that were busy with others for any time
    for size in (1, 3, 10, 40):
        for before in range(20):
            queues = waiting(high=30, normal=20, low=10) | {(TRANSCRIPTION, priority): size}
            order = PriorityOrder()
            for _ in range(before):
                serve(order, {HIGH})
            # When all that waits is served
            expected = position_number(queues, TRANSCRIPTION, priority, size)
            left = {each: queues[TRANSCRIPTION, each] for each in Priority}
            served = 0
            while left[priority]:
                left[serve(order, {each for each in left if left[each]})] -= 1
                served += 1
            # Then the last task of the queue begins at its position, or as much off as a queue may be passed over
            assert abs(served - expected) <= max(PATIENCE.values())


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize(
    ("high", "normal", "low"), [(30, 20, 10), (500, 100, 64), (0, 100, 64), (5, 100, 1), (7, 0, 9)]
)
def test_the_tasks_of_each_queue_before_are_about_true(priority: Priority, high: int, normal: int, low: int) -> None:
    # Given queues of any length, and tasks anywhere in one of them
    queues = waiting(high, normal, low) | {(DIARIZATION, HIGH): high}
    for turn in {1, 5, queues[TRANSCRIPTION, priority]} - {0}:
        # When a new worker serves all queues until the task is next
        left, order, served = dict(queues) | {(TRANSCRIPTION, priority): turn}, PriorityOrder(), Counter[QueueKey]()
        while left[TRANSCRIPTION, priority]:
            key = serve_next(order, {key for key, count in left.items() if count})
            left[key] -= 1
            served[key] += 1
        served[TRANSCRIPTION, priority] -= 1
        # Then about as many of each queue were served as expected
        expected = served_before(queues | {(TRANSCRIPTION, priority): turn}, (TRANSCRIPTION, priority), turn)
        assert expected.keys() == queues.keys()
        for key in queues:
            assert abs(served[key] - expected[key]) <= max(PATIENCE.values()), key


def serve_next(order: PriorityOrder, full: set[QueueKey]) -> QueueKey:
    """Serve one task of the queues that are not empty."""
    for priority, kinds in order.current():
        for kind in kinds:
            if (kind, priority) in full:
                order.note_served((kind, priority))
                return kind, priority
        order.note_empty(priority)
    raise AssertionError


@pytest.mark.parametrize(
    ("busy", "work", "expected"),
    [
        ([], 60, 60),  # nobody is known to work
        ([10], 0, 10),  # the next task begins when the running one ends
        ([10], 60, 70),
        ([10, 7200], 3600, 3610),  # who works for two hours takes no part in it
        ([10, 20], 30, 30),  # the second worker takes 10 of the 30 seconds
        ([0, 0, 0], 60, 20),
        ([-5, -5], 0, 0),  # tasks that last longer than expected end now
    ],
)
def test_when_a_worker_is_free(busy: list[float], work: float, expected: float) -> None:
    assert seconds_until_free(busy, work) == pytest.approx(expected)


def test_live_tasks_wait_for_live_tasks_that_are_more_urgent_or_came_before() -> None:
    waiting = {(queue, priority): 5 for queue in Lane for priority in Priority}
    before = served_before(waiting, (Lane.LIVE, Priority.NORMAL), 3)
    assert {key: count for key, count in before.items() if count} == {
        (Lane.LIVE, Priority.HIGH): 5,
        (Lane.LIVE, Priority.NORMAL): 2,
    }
