"""What is ended ends, and what has to be said before is said."""

import asyncio
from contextlib import nullcontext, suppress

import pytest

from app.runtime.cancellation import StopScope, cancel_all, despite_cancellation


async def test_a_cancellation_that_was_swallowed_is_repeated() -> None:
    # Given a task that takes its first cancellation for something else
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    # When it is ended
    await asyncio.wait_for(cancel_all([task]), 5)
    # Then it has ended
    assert swallowed.is_set()
    assert task.cancelled()


async def test_shielded_work_completes_however_often_it_is_cancelled() -> None:
    # Given shielded work that takes a while
    may_append, appended = asyncio.Event(), []

    async def last_word() -> str:
        await may_append.wait()
        appended.append("queued")
        return "queued"

    speaker = asyncio.create_task(despite_cancellation(last_word()))
    # When its task is cancelled again and again
    for _ in range(3):
        await asyncio.sleep(0)
        speaker.cancel()
    await asyncio.sleep(0)
    assert not speaker.done()
    # Then it is said nevertheless
    may_append.set()
    assert await asyncio.wait_for(speaker, 5) == "queued"
    assert appended == ["queued"]


async def test_an_error_of_shielded_work_is_raised() -> None:
    async def failing() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await despite_cancellation(failing())


async def deaf(times: int) -> None:
    """Goes on after some cancellations, as nats-py does after one that comes while it flushes."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


@pytest.mark.parametrize("swallowed_before", [0, 1])
@pytest.mark.parametrize("after", [0.01, None])
async def test_work_that_swallows_cancellations_is_stopped(after: float | None, swallowed_before: int) -> None:
    # Given work with a limit or without one, which swallows three cancellations, and perhaps one before it began
    stop = StopScope(ZeroDivisionError(), after=after, again_after=0.01)

    async def stoppable() -> None:
        for _ in range(swallowed_before):
            working.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        async with stop:
            await deaf(3)

    working = asyncio.create_task(stoppable())
    # When the time is up, or somebody stops it, then it is stopped
    if after is None:
        asyncio.get_running_loop().call_later(0.01, stop.now)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(working, 5)


async def test_work_that_waited_for_something_cancelled_was_not_stopped() -> None:
    part = asyncio.create_task(asyncio.Event().wait())
    part.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with StopScope(ZeroDivisionError(), after=60):
            await part


async def test_work_that_ends_in_time_is_not_stopped() -> None:
    # Given work that has ended before its limit, and is cancelled afterwards
    async with StopScope(ZeroDivisionError(), after=0.02) as stop:
        pass
    stop.now()
    # When the time is up, then nobody is cancelled
    await asyncio.sleep(0.04)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_work_that_its_caller_cancels_is_cancelled() -> None:
    # Given work with a limit that is over
    stopping = asyncio.Event()

    async def limited() -> None:
        async with StopScope(ZeroDivisionError(), after=0, again_after=60):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            stopping.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(limited())
    await stopping.wait()
    # When its caller cancels it, too, then that counts
    await cancel_all([task])
    assert task.cancelled()


@pytest.mark.parametrize(("idle", "stopped"), [(0.0, False), (60.0, True)])
async def test_time_that_counts_from_the_last_progress_is_not_over_while_there_is_progress(
    idle: float, stopped: bool
) -> None:
    # Given a body that may pause for a moment, and that has made progress just now or long ago
    checked = asyncio.Event()

    def since() -> float:
        checked.set()
        return idle

    # When that moment is over, then the body is stopped only if it has made no progress
    with pytest.raises(TimeoutError) if stopped else nullcontext():
        async with StopScope(TimeoutError(), after=0.001, since=since):
            await checked.wait()
            await (asyncio.Event().wait() if stopped else asyncio.sleep(0))
