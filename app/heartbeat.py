"""The signs of life of a running task: towards the queue, towards clients, and the ear on its own log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from app.attempt import TaskAttempt
from handlers.errors import OvertakenError
from schemas import subjects
from schemas.progress import ProgressEvent

TICK: Final = 1.0  # seconds

log = structlog.get_logger()


class Heartbeat:
    """Keeps a delivery alive, and ends it as soon as somebody else has appended to the task's log."""

    def __init__(
        self, nats: Client, message: Msg, *, every: float, notice: Callable[[TaskAttempt], None] = lambda _: None
    ) -> None:
        self._nats = nats
        self._message = message
        self._every = every
        self._notice = notice
        self._attempt: TaskAttempt | None = None
        self._overtaken: asyncio.Timeout | None = None
        self._ear: Subscription | None = None

    async def follow(self, attempt: TaskAttempt) -> None:
        """Speak for this attempt from now on, and listen to its log."""
        self._attempt = attempt
        # Before its first word: an append that comes in between would be heard by nobody.
        self._ear = await self._nats.subscribe(subjects.progress(attempt.entry.event.task_id), cb=self._seen)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat while the body runs; once overtaken, the body is cancelled and OvertakenError raised."""
        signs = [asyncio.create_task(self._beat()), asyncio.create_task(self._speak())]
        try:
            async with asyncio.timeout(None) as self._overtaken:
                yield
        except TimeoutError as error:
            if self._overtaken is None or not self._overtaken.expired():
                raise
            raise OvertakenError from error
        finally:
            self._overtaken = None
            for sign in signs:
                sign.cancel()
            try:
                await asyncio.wait(signs)
            finally:
                await self._close_ear()

    async def _beat(self) -> None:
        """Towards the queue: by itself, for what is said in the log may have to wait for NATS."""
        while True:
            await asyncio.sleep(self._every)
            with suppress(NatsError):  # a missed beat is not the end; many are, and the log says so then
                await self._message.in_progress()

    async def _speak(self) -> None:
        """Towards clients."""
        while True:
            await asyncio.sleep(min(TICK, self._every))
            await self._say_again()

    async def _close_ear(self) -> None:
        if self._ear is not None:
            with suppress(NatsError):
                await self._ear.unsubscribe()

    async def _say_again(self) -> None:
        if self._attempt is None:
            return
        self._notice(self._attempt)
        try:
            await self._attempt.tick()
        except OvertakenError:
            self._stop()
        except Exception:
            log.warning("progress_unsaid", exc_info=True)

    async def _seen(self, message: Msg) -> None:
        """Look closer: a core subscriber also sees what the stream has refused."""
        if self._attempt is None:
            return
        try:
            await self._attempt.check(ProgressEvent.model_validate_json(message.data).sequence)
        except OvertakenError:
            self._stop()
        except ValueError:
            return  # not an event of ours

    def _stop(self) -> None:
        if self._overtaken is not None and not self._overtaken.expired():
            self._overtaken.reschedule(asyncio.get_running_loop().time())
