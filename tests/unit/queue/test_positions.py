"""How many tasks of each priority start before a waiting task."""

from collections import Counter

import pytest
from natscribe.schemas.wire import Priority

from app.tasks.queue.priority_order import PATIENCE, PriorityOrder, served_before

HIGH, NORMAL, LOW = Priority


def waiting(high: int = 0, normal: int = 0, low: int = 0) -> dict[Priority, int]:
    return dict(zip(Priority, (high, normal, low), strict=True))


def serve(order: PriorityOrder, full: set[Priority]) -> Priority:
    """Serve one task, while tasks of these priorities wait."""
    for priority in order.current():
        if priority in full:
            order.note_served(priority)
            return priority
        order.note_empty(priority)
    raise AssertionError


@pytest.mark.parametrize(
    ("tasks", "priority", "before", "expected"),
    [
        (waiting(normal=5), NORMAL, 4, 4),  # no other task waits
        (waiting(high=2, normal=5), NORMAL, 4, 6),  # what is high goes first
        (waiting(high=1000, normal=5), NORMAL, 4, 19),  # but every fourth task is normal
        (waiting(high=1000, normal=1000, low=1), LOW, 0, 15),  # and every sixteenth low
        (waiting(high=2, normal=3, low=4), LOW, 3, 8),
        (waiting(high=30, normal=1000, low=1000), HIGH, 29, 41),  # ten of them normal, two low
        (waiting(high=1), HIGH, 0, 0),
    ],
)
def test_the_tasks_before_a_task(tasks: dict[Priority, int], priority: Priority, before: int, expected: int) -> None:
    assert sum(served_before(tasks, priority, before).values()) == expected


@pytest.mark.parametrize("priority", list(Priority))
@pytest.mark.parametrize(
    ("high", "normal", "low"), [(30, 20, 10), (500, 100, 64), (0, 100, 64), (5, 100, 1), (7, 0, 9)]
)
def test_the_tasks_of_each_priority_before_are_about_right(
    priority: Priority, high: int, normal: int, low: int
) -> None:
    # Given any number of tasks of each priority, and a task anywhere among those of one
    for number in {1, 5, waiting(high, normal, low)[priority]} - {0}:
        # When tasks are served until that task is next
        tasks = waiting(high, normal, low) | {priority: number}
        left, order, served = dict(tasks), PriorityOrder(), Counter[Priority]()
        while left[priority]:
            current = serve(order, {waiting_priority for waiting_priority, count in left.items() if count})
            left[current] -= 1
            served[current] += 1
        served[priority] -= 1
        # Then about as many of each priority were served as expected
        expected = served_before(tasks, priority, number - 1)
        for of_priority in Priority:
            about = pytest.approx(expected.get(of_priority, 0), abs=max(PATIENCE.values()), rel=0.1)
            assert served[of_priority] == about, of_priority
