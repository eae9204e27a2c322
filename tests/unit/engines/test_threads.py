"""What threads are given, in which order, and by whom."""

from collections.abc import Iterable
from threading import Barrier, current_thread

import pytest

from app.engines.threads import Threads, in_groups

DEADLINE_S = 10


def test_items_are_worked_on_at_the_same_time_and_come_back_in_order() -> None:
    # Given work that ends only if two of it are under way
    both = Barrier(2)

    def work(number: int) -> int:
        both.wait(DEADLINE_S)
        return -number

    # When two threads get four items, then all are done, in their order
    assert list(Threads(2).map(work, range(4))) == [0, -1, -2, -3]


def test_work_of_a_thread_stays_on_it() -> None:
    # Given two threads, both at work on something that has parts
    threads, both = Threads(2), Barrier(2)

    def part(_: int) -> str:
        return current_thread().name

    def whole(number: int) -> bool:
        both.wait(DEADLINE_S)
        return set(threads.map(part, range(number))) == {current_thread().name}

    # When each has its parts done on the same threads, then none waits for the other
    assert list(threads.map(whole, [2, 3])) == [True, True]


def test_a_single_thread_begins_with_an_item_when_its_result_is_wanted() -> None:
    # Given work that is handed out bit by bit
    begun: list[int] = []

    def given() -> Iterable[int]:
        for number in range(3):
            begun.append(number)
            yield number

    # When one thread has it, then nothing is begun before that is wanted
    found = Threads(1).map(str, given())
    assert (next(iter(found)), begun) == ("0", [0])


def test_an_error_is_raised_where_the_results_are_read() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Threads(2).map(lambda number: 1 / number, [1, 0]))


@pytest.mark.parametrize(
    ("seconds", "count", "sizes"),
    [
        ([10] * 8, 2, [4, 4]),
        ([10] * 7, 2, [4, 3]),  # the group that can begin first has more
        ([20, 1, 1, 1], 2, [1, 3]),
        ([1, 1, 1, 20], 2, [3, 1]),
        ([5], 4, [1]),
        ([10] * 9, 4, [2, 3, 2, 2]),
        ([], 2, []),
    ],
)
def test_groups_have_about_as_much_sound_each(seconds: list[float], count: int, sizes: list[int]) -> None:
    assert in_groups(seconds, count) == sizes
