"""How many deliveries begin together, and what becomes of those that take longer than expected."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import count

import pytest

from app.queue.deliveries import BESIDE, Deliveries
from app.queue.engine_lock import EngineLock
from tests.waiting import eventually


class Work:
    """Deliveries that find their result when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.queue.deliveries.QUICKLY", 60)
        self.patch = monkeypatch
        self.engine_lock = EngineLock()
        self.broken: list[BaseException] = []
        self.deliveries = Deliveries(self.broken.append, self.engine_lock, most=50)
        self.may_find = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.given_back: list[str] = []
        self.ended: list[str] = []
        self._numbers: Iterator[int] = count()

    def patience(self, seconds: float) -> None:
        self.patch.setattr("app.queue.deliveries.QUICKLY", seconds)

    async def delivery(self, name: str, *, with_engine: bool = False) -> None:
        try:
            if with_engine:
                async with self.engine_lock.held():
                    await self.may_find.wait()
            else:
                await self.may_find.wait()
            self.deliveries.found(name)
            await self.may_end.wait()
            self.ended.append(name)
        except asyncio.CancelledError:
            self.given_back.append(name)

    def begin(self, names: Sequence[str], *, with_engine: str | None = None) -> asyncio.Task[None]:
        work = {name: self.delivery(name, with_engine=name == with_engine) for name in names}
        return asyncio.create_task(self.deliveries.work(work))

    async def quick_round(self, size: int) -> None:
        self.may_find.set()
        await self.begin([f"quick-{next(self._numbers)}" for _ in range(size)])
        self.may_find.clear()


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


async def test_twice_as_many_begin_after_each_quick_round(work: Work) -> None:
    # Given nothing that is known of tasks, one begins
    wide = [await work.deliveries.room()]
    # When all that begin are quick
    while len(wide) < 8:
        await work.quick_round(wide[-1])
        wide.append(await work.deliveries.room())
    # Then twice as many begin together, up to a limit
    assert wide == [1, 2, 4, 8, 16, 32, 50, 50]


async def test_tasks_that_come_one_by_one_say_nothing_about_many(work: Work) -> None:
    # Given room for two
    await work.quick_round(1)
    # When quick ones come alone
    for _ in range(5):
        await work.quick_round(1)
    # Then no more would begin together than have been seen together
    assert await work.deliveries.room() == 2


async def test_what_is_only_just_quick_enough_is_not_doubled(work: Work) -> None:
    # Given a round that takes more than half of the time in which it counts as quick
    work.patience(0.4)
    rounds = work.begin(["one"])
    await asyncio.wait([rounds], timeout=0.25)
    work.may_find.set()
    await rounds
    # Then twice as many would be too slow, and are not tried
    assert await work.deliveries.room() == 1
    assert work.given_back == []


async def test_of_slow_deliveries_the_first_goes_on_and_the_others_are_given_back(work: Work) -> None:
    # Given room for four
    for size in (1, 2):
        await work.quick_round(size)
    # When the next four are not as quick
    work.patience(0.01)
    rounds = work.begin(["one", "two", "three", "four"])
    # Then any other worker can have all but the first
    await eventually(lambda: _is(work.given_back, ["two", "three", "four"]))
    assert not rounds.done()
    # And when that one is done, the next one begins alone again
    work.may_find.set()
    await rounds
    assert work.ended[-1] == "one"
    assert await work.deliveries.room() == 1


async def test_whoever_has_the_engine_is_not_given_back(work: Work) -> None:
    # Given four that begin together, of which not the first came to the engine first
    work.patience(0.01)
    rounds = work.begin(["one", "two", "three", "four"], with_engine="three")
    # When they take long
    await eventually(lambda: _is(work.given_back, ["one", "two", "four"]))
    # Then the engine's process is left alone
    work.may_find.set()
    await rounds
    assert work.ended == ["three"]


async def test_a_cancellation_that_was_swallowed_is_repeated(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a delivery that takes its first cancellation for something else
    monkeypatch.setattr("app.queue.deliveries.AGAIN_AFTER", 0.01)
    swallowed: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.append("stubborn")
        await work.delivery("stubborn")

    await work.quick_round(1)
    work.patience(0.01)
    rounds = asyncio.create_task(work.deliveries.work({"one": work.delivery("one"), "stubborn": stubborn()}))
    # When it takes long
    await eventually(lambda: _is(work.given_back, ["stubborn"]))
    # Then it is given back all the same
    assert swallowed == ["stubborn"]
    work.may_find.set()
    await rounds


async def test_at_the_end_everything_is_given_back(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two that are worked on, when the worker stops and its grace is over
    monkeypatch.setattr("app.queue.deliveries.AGAIN_AFTER", 0.01)
    rounds = work.begin(["one", "two"])
    await asyncio.sleep(0)
    await work.deliveries.end(grace=0)
    # Then other workers can have them
    assert sorted(work.given_back) == ["one", "two"]
    await rounds


async def test_there_is_no_room_while_too_many_results_are_written_down(work: Work) -> None:
    # Given a disk that hangs, and as many results as may wait for it
    work.may_end.clear()
    work.may_find.set()
    for number in range(BESIDE):
        await work.begin([str(number)])
    await asyncio.wait_for(work.deliveries.room(), 5)
    # When there is one more
    await work.begin(["one more"])
    # Then nothing more is asked for before one is stored
    room = asyncio.create_task(work.deliveries.room())
    await asyncio.wait([room], timeout=0.05)
    assert not room.done()
    work.may_end.set()
    await asyncio.wait_for(room, 5)


async def test_an_error_that_nobody_settled_is_told_and_holds_nobody_up(work: Work) -> None:
    async def broken() -> None:
        raise RuntimeError

    await asyncio.wait_for(work.deliveries.work({"broken": broken()}), 5)
    assert [type(error) for error in work.broken] == [RuntimeError]


async def _is(found: list[str], expected: list[str]) -> bool:
    return sorted(found) == sorted(expected)
