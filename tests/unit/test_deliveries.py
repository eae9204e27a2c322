"""How many deliveries begin together, and what becomes of those that take longer than expected."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from itertools import count

import pytest

from app.queue.deliveries import BESIDE, Deliveries
from tests.waiting import eventually


class Work:
    """Deliveries that find their result when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.queue.deliveries.QUICKLY", 60)
        self.patch = monkeypatch
        self.broken: list[BaseException] = []
        self.deliveries = Deliveries(self.broken.append, most=50)
        self.with_engine: list[str] = []
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
                await self.deliveries.engine(name)
                self.with_engine.append(name)
            await self.may_find.wait()
            self.deliveries.found(name)
            await self.may_end.wait()
            self.ended.append(name)
        except asyncio.CancelledError:
            self.given_back.append(name)

    def begin(self, names: Sequence[str], *, with_engine: Collection[str] = ()) -> asyncio.Task[None]:
        work = {name: self.delivery(name, with_engine=name in with_engine) for name in names}
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
    wide = [await work.deliveries.may_begin()]
    # When all that begin are quick
    while len(wide) < 8:
        await work.quick_round(wide[-1])
        wide.append(await work.deliveries.may_begin())
    # Then twice as many begin together, up to a limit
    assert wide == [1, 2, 4, 8, 16, 32, 50, 50]


async def test_tasks_that_come_one_by_one_say_nothing_about_many(work: Work) -> None:
    # Given room for two
    await work.quick_round(1)
    # When quick ones come alone
    for _ in range(5):
        await work.quick_round(1)
    # Then no more would begin together than have been seen together
    assert await work.deliveries.may_begin() == 2


async def test_what_is_only_just_quick_enough_is_not_doubled(work: Work) -> None:
    # Given a round that takes more than half of the time in which it counts as quick
    work.patience(0.4)
    rounds = work.begin(["one"])
    await asyncio.wait([rounds], timeout=0.25)
    work.may_find.set()
    await rounds
    # Then twice as many would be too slow, and are not tried
    assert await work.deliveries.may_begin() == 1
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
    assert await work.deliveries.may_begin() == 1


async def test_where_most_are_quick_half_as_many_begin_the_next_time(work: Work) -> None:
    # Given room for eight
    for size in (1, 2, 4):
        await work.quick_round(size)
    # When half of the next eight are quick, as on a machine that has become slow
    work.patience(0.2)
    names = [str(number) for number in range(8)]
    rounds = work.begin(names)
    await asyncio.sleep(0)
    for name in names[:4]:
        work.deliveries.found(name)
    await eventually(lambda: _is(work.given_back, ["5", "6", "7"]))
    work.may_find.set()
    await rounds
    # Then the next ones are not as many
    assert await work.deliveries.may_begin() == 4


async def test_whoever_has_the_engine_is_not_given_back(work: Work) -> None:
    # Given four that begin together, of which all but the second have come to the engine
    work.patience(0.3)
    rounds = work.begin(["one", "two", "three", "four"], with_engine=["one", "three", "four"])
    await eventually(lambda: _is(work.with_engine, ["one"]))
    # When the first is quick, and the one that has the engine next takes long
    work.deliveries.found("one")
    await eventually(lambda: _is(work.with_engine, ["one", "three"]))
    # Then the engine's process is left alone
    await eventually(lambda: _is(work.given_back, ["two", "four"]))
    work.may_find.set()
    await rounds
    assert sorted(work.ended) == ["one", "three"]


async def test_the_engine_is_kept_for_the_first(work: Work) -> None:
    # Given three that begin together, of which the others are faster with what comes before the engine
    rounds = work.begin(["one", "two", "three"], with_engine=["two", "three"])
    await asyncio.sleep(0.01)
    assert work.with_engine == []
    # When the first has its result, then they may have it
    work.deliveries.found("one")
    await eventually(lambda: _is(work.with_engine, ["two"]))
    work.may_find.set()
    await rounds


async def test_the_engine_is_for_one_after_the_other(work: Work) -> None:
    # Given three that begin together, and all need the engine
    for size in (1, 2):
        await work.quick_round(size)
    rounds = work.begin(["one", "two", "three"], with_engine=["one", "two", "three"])
    await eventually(lambda: _is(work.with_engine, ["one"]))
    # When one has its result, then the next one has the engine, though the first is not written down
    work.may_end.clear()
    work.deliveries.found("one")
    await eventually(lambda: _is(work.with_engine, ["one", "two"]))
    # And when that one breaks, the third
    work.deliveries.found("two")
    await eventually(lambda: _is(work.with_engine, ["one", "two", "three"]))
    work.may_find.set()
    work.may_end.set()
    await rounds


async def test_only_the_first_of_those_that_begin_together_is_the_first(work: Work) -> None:
    rounds = work.begin(["one", "two"])
    await asyncio.sleep(0)
    assert [work.deliveries.is_first(name) for name in ("one", "two", "one")] == [True, False, True]
    work.may_find.set()
    await rounds


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
    # Given a disk that hangs after a while, and as many results as may wait for it
    await work.quick_round(1)
    work.may_end.clear()
    work.may_find.set()
    for number in range(BESIDE):
        await work.begin([str(number)])
    await asyncio.wait_for(work.deliveries.may_begin(), 5)
    # When there is one more
    await work.begin(["one more"])
    # Then nothing more is asked for before one is stored
    room = asyncio.create_task(work.deliveries.may_begin())
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
