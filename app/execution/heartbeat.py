"""The heartbeat: extends the delivery of a running task, appends events, and notices when the worker is fenced."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent

from app.cancellation import Stop, cancel_all
from app.errors import FencedError, RequestError, TransientError, in_words
from app.execution.attempt import TaskAttempt

APPEND_EVERY_S: Final = 1.0
FIRST_AFTER_S: Final = 0.25  # work that ends within this time needs no heartbeat

log = structlog.get_logger()


class Heartbeat:
    """Extends one delivery, and cancels the work on it when another writer has appended to the task's log."""

    def __init__(
        self, nats: Client, message: Msg, *, every: float, notice: Callable[[TaskAttempt], None] = lambda _: None
    ) -> None:
        """The delivery is extended every `every` seconds; `notice` is called with the attempt about once a second."""
        self._nats = nats
        self._message = message
        self._every = every
        self._notice = notice
        self._followed: asyncio.Future[TaskAttempt] = asyncio.get_running_loop().create_future()
        self._fence = Stop(FencedError())

    def follow(self, attempt: TaskAttempt) -> None:
        """From now on, append the attempt's updates to the task's log, and watch that log for appends of others."""
        self._followed.set_result(attempt)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Run the heartbeat while the body runs; cancel the body when the attempt is fenced.

        Raises:
            FencedError: Another writer has appended to the task's log.
        """
        beats: list[asyncio.Task[None]] = []

        def begin() -> None:
            beats.extend(asyncio.create_task(beat()) for beat in (self._extend, self._append, self._watch))

        beginning = asyncio.get_running_loop().call_later(min(FIRST_AFTER_S, self._every), begin)
        try:
            async with self._fence:
                yield
        finally:
            beginning.cancel()
            await cancel_all(beats)

    async def _extend(self) -> None:
        """Extend the delivery, separately from the appends, which may have to wait for NATS."""
        while True:
            # If too many extensions fail, another worker gets the task and fences this worker.
            with suppress(NatsError):
                await self._message.in_progress()
            await asyncio.sleep(self._every)

    async def _append(self) -> None:
        """Let the attempt append its pending update about once a second."""
        while True:
            await asyncio.sleep(min(APPEND_EVERY_S, self._every))
            if not self._followed.done():
                continue
            attempt = self._followed.result()
            self._notice(attempt)
            try:
                await attempt.tick()
            except FencedError:
                self._fence.now()
            except (TransientError, NatsError) as error:
                log.warning("progress_append_failed", error=in_words(error))
            except Exception:
                log.exception("progress_append_failed")

    async def _watch(self) -> None:
        """Watch the log for appends of other writers, also for appends from before this worker has subscribed to it."""
        attempt = await self._followed
        subscription = await self._nats.subscribe(subjects.progress(attempt.record.event.task_id), cb=self._received)
        try:
            # JetStream refuses the next append of a fenced worker anyway.
            with suppress(NatsError, TransientError, RequestError):
                await self._check(attempt)
            await asyncio.Event().wait()
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _received(self, message: Msg) -> None:
        # ValueError: the service did not write this message. TransientError: JetStream does not answer.
        with suppress(ValueError, TransientError, RequestError):
            await self._check(await self._followed, ProgressEvent.model_validate_json(message.data).sequence)

    async def _check(self, attempt: TaskAttempt, sequence: int | None = None) -> None:
        try:
            await attempt.check(sequence)
        except FencedError:
            self._fence.now()
