"""The signs of life of a running task: towards the queue, towards clients, and the ear on its own log."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.cancellation import cancel_all
from app.errors import FencedError, TransientError
from app.execution.attempt import TaskAttempt
from schemas import subjects
from schemas.progress import ProgressEvent

TICK: Final = 1.0  # seconds
QUIET_AT_FIRST: Final = (
    0.25  # seconds: what is done sooner needs no signs of life, and is overtaken by nobody's patience
)

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
        self._followed: asyncio.Future[TaskAttempt] = asyncio.get_running_loop().create_future()
        self._overtaken: asyncio.Timeout | None = None

    def follow(self, attempt: TaskAttempt) -> None:
        """Speak for this attempt from now on, and listen to its log."""
        self._followed.set_result(attempt)

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat while the body runs; once overtaken, the body is cancelled and FencedError raised."""
        signs: list[asyncio.Task[None]] = []

        def begin() -> None:
            signs.extend(asyncio.create_task(sign()) for sign in (self._beat, self._speak, self._listen))

        beginning = asyncio.get_running_loop().call_later(min(QUIET_AT_FIRST, self._every), begin)
        try:
            async with asyncio.timeout(None) as self._overtaken:
                yield
        except TimeoutError as error:
            if self._overtaken is None or not self._overtaken.expired():
                raise
            raise FencedError from error
        finally:
            self._overtaken = None
            beginning.cancel()
            await cancel_all(signs)

    async def _beat(self) -> None:
        """Towards the queue: by itself, for what is said in the log may have to wait for NATS."""
        while True:
            with suppress(NatsError):  # a missed beat is not the end; many are, and the log says so then
                await self._message.in_progress()
            await asyncio.sleep(self._every)

    async def _speak(self) -> None:
        """Towards clients."""
        while True:
            await asyncio.sleep(min(TICK, self._every))
            await self._say_again()

    async def _listen(self) -> None:
        """Towards whoever else appends to the log, and first of all look who has by now."""
        attempt = await self._followed
        ear = await self._nats.subscribe(subjects.progress(attempt.record.event.task_id), cb=self._heard)
        try:
            with suppress(NatsError, TransientError):  # what is said next is refused, then
                await self._look(attempt)
            await asyncio.Event().wait()
        finally:
            with suppress(NatsError):
                await ear.unsubscribe()

    async def _say_again(self) -> None:
        if not self._followed.done():
            return
        attempt = self._followed.result()
        self._notice(attempt)
        try:
            await attempt.tick()
        except FencedError:
            self._stop()
        except Exception:
            log.warning("progress_unsaid", exc_info=True)

    async def _heard(self, message: Msg) -> None:
        """Look closer: a core subscriber also hears what the stream has refused."""
        with suppress(ValueError, TransientError):  # not an event of ours, or nobody to ask
            await self._look(await self._followed, ProgressEvent.model_validate_json(message.data).sequence)

    async def _look(self, attempt: TaskAttempt, heard: int | None = None) -> None:
        try:
            await attempt.check(heard)
        except FencedError:
            self._stop()

    def _stop(self) -> None:
        if self._overtaken is not None and not self._overtaken.expired():
            self._overtaken.reschedule(asyncio.get_running_loop().time())
