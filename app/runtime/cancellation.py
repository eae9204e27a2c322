"""Cancellation of asyncio tasks: end tasks reliably, or finish some work despite a cancellation."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeVar

AGAIN_AFTER_S: Final = 0.05  # a cancelled task that still runs after this time is cancelled again
MIN_CHECK_S: Final = 0.01  # shortest time between two checks of a `StopScope` for progress of its body
STOP_AGAIN_AFTER_S: Final = 0.5  # as AGAIN_AFTER_S, for the body of a `StopScope`, which may have to clean up

T = TypeVar("T")


async def cancel_all(tasks: Collection[asyncio.Task[Any]], *, again_after: float = AGAIN_AFTER_S) -> None:
    """Cancel asyncio tasks, and repeat this every `again_after` seconds until all of them have ended.

    A single cancellation can be lost: nats-py swallows one while it flushes, and `asyncio.wait_for` of Python 3.11
    swallows one that arrives together with the result.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_after)


async def discard_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel asyncio tasks whose results are no longer needed, wait until they have ended, and ignore their errors."""
    await cancel_all(tasks)
    for task in tasks:
        drop_error(task)


def drop_error(task: asyncio.Task[Any]) -> None:
    """Read and ignore the error of an ended asyncio task: asyncio would log an error that nobody has read."""
    if not task.cancelled():
        task.exception()


@dataclass(eq=False, slots=True)
class StopScope:
    """Stops the body of an `async with` after a timeout, or when `now` is called.

    Unlike `asyncio.timeout`, a `StopScope` repeats the cancellation until the body has ended, because a single
    cancellation can be lost: see `cancel_all`.

    `error`: what the scope raises when it has stopped the body. `after`: the timeout in seconds; None: only a call of
    `now` stops the body. `since`: returns how many seconds of the timeout have passed, for example since the last
    progress; None: the timeout counts from the start of the body. `again_after`: the seconds between two cancellations.

    Raises:
        Exception: The error of the `StopScope`, if it has stopped the body.
    """

    error: Exception
    _: KW_ONLY
    after: float | None = None
    since: Callable[[], float] | None = None
    again_after: float = STOP_AGAIN_AFTER_S
    _body: asyncio.Task[Any] | None = field(default=None, init=False)
    _cancelled_by_others: int = field(default=0, init=False)  # before the body began
    _cancelled: int = field(default=0, init=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False)

    async def __aenter__(self) -> Self:
        self._body = asyncio.current_task()
        self._cancelled_by_others = self._body.cancelling() if self._body else 0
        if self.after is not None:
            self._check_after(self.after)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        body, self._body = self._body, None
        if self._timer is not None:
            self._timer.cancel()
        if body is None or not self._cancelled:
            return
        for _ in range(self._cancelled):
            body.uncancel()
        if isinstance(error, asyncio.CancelledError) and body.cancelling() <= self._cancelled_by_others:
            raise self.error from error

    def _check_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(max(seconds, MIN_CHECK_S), self._check)

    def _check(self) -> None:
        left = self.after - self.since() if self.after and self.since else 0.0
        if left > 0:
            self._check_after(left)
        else:
            self.now()

    def now(self, error: Exception | None = None) -> None:
        """Stop the body of the `async with`; the scope then raises `error`, or `self.error` if that is None.

        The body is cancelled repeatedly until it has ended. A call before or after the body does nothing.
        """
        if self._body is None:
            return
        self.error = error or self.error
        if self._timer is not None:
            self._timer.cancel()
        self._cancelled += 1
        self._body.cancel()
        self._timer = asyncio.get_running_loop().call_later(self.again_after, self.now)


async def despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end and return its result, even if the caller is cancelled meanwhile.

    The cancellation is then lost: it is not raised after the end of `work` either.
    """
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    return task.result()
