"""What is worked on at the same time, in which order results come back, and what is left after an error."""

import gc
from collections.abc import Iterator
from contextlib import suppress
from threading import Barrier, Event, Thread, current_thread
from threading import enumerate as all_threads

import pytest

from app.engines.parallel import Parallel, balanced_groups

DEADLINE_S = 10


def test_items_are_worked_on_at_the_same_time_and_come_back_in_order() -> None:
    # Given work that ends only if two of it are under way
    both = Barrier(2)

    def work(number: int) -> int:
        both.wait(DEADLINE_S)
        return -number

    # When four items are worked on, two at the same time, then all are done, in their order
    assert list(Parallel(2).map(work, range(4))) == [0, -1, -2, -3]
    # And on one thread no item is read before the result of the previous one is
    items = iter(range(3))
    assert (next(Parallel(1).map(str, items)), list(items)) == ("0", [1, 2])


def test_parts_of_work_stay_on_its_thread() -> None:
    # Given two items at work, each of which has parts
    parallel, both = Parallel(2), Barrier(2)

    def part(_: int) -> str:
        return current_thread().name

    def whole(number: int) -> bool:
        both.wait(DEADLINE_S)
        return set(parallel.map(part, range(number))) == {current_thread().name}

    # When each has its parts done the same way, then none waits for the other
    assert list(parallel.map(whole, [2, 3])) == [True, True]


def test_after_an_error_no_work_goes_on() -> None:
    # Given work that lasts a little longer than the items, which end with an error
    in_progress, failed, ended = Event(), Event(), list[int]()

    def work(number: int) -> None:
        in_progress.set()
        assert failed.wait(DEADLINE_S)
        Event().wait(0.05)
        ended.append(number)

    def given() -> Iterator[int]:
        yield 1
        assert in_progress.wait(DEADLINE_S)
        failed.set()
        raise ZeroDivisionError

    # When the results are read, then the error comes out when the work has ended
    with pytest.raises(ZeroDivisionError):
        list(Parallel(2).map(work, given()))
    assert ended == [1]


def test_threads_end_with_the_model_that_they_work_for() -> None:
    # Given a model that has worked on something, which failed in the end
    names: set[str] = set()

    def work(number: int) -> float:
        names.add(current_thread().name)
        return 1 / number

    parallel = Parallel(2)
    gc.disable()
    try:
        with suppress(ZeroDivisionError):
            list(parallel.map(work, [2, 1, 0]))
        threads = [thread for thread in all_threads() if thread.name in names]
        # When another one replaces it
        del parallel
    finally:
        gc.enable()

    # Then its threads end
    for thread in threads:
        thread.join(DEADLINE_S)
    assert threads
    assert not any(map(Thread.is_alive, threads))


@pytest.mark.parametrize(
    ("seconds", "count", "sizes"),
    [
        ([10] * 8, 2, [4, 4]),
        ([10] * 7, 2, [4, 3]),
        ([20, 1, 1, 1], 2, [1, 3]),
        ([1, 1, 1, 20], 2, [3, 1]),
        ([5], 4, [1]),
        ([10] * 9, 4, [2, 3, 2, 2]),
        ([0, 0], 2, [2]),
        ([0, 10, 10], 2, [2, 1]),
        ([], 2, []),
    ],
)
def test_groups_have_about_the_same_duration(seconds: list[float], count: int, sizes: list[int]) -> None:
    assert balanced_groups(seconds, count) == sizes
