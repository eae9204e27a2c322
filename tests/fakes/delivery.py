"""Deliveries of task messages that no server has sent, and the middlewares around their handlers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from faststream import BaseMiddleware, ContextRepo
from nats.errors import Error as NatsError
from natscribe.schemas.progress import ProgressEvent

from app.settings import Settings
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.delivery import Delivery
from app.tasks.queue.granted_task import GrantedTask
from app.tasks.queue.stored_message import StoredMessage
from handlers.task_middlewares import current_attempt
from tests.waiting import eventually

SETTINGS = Settings(_env_file=None)
Middlewares = Sequence[Callable[..., BaseMiddleware[Any, Any]]]
Handler = Callable[[TaskAttempt], Awaitable[object]]


@dataclass
class FakeMessage:
    """A message that records how it is settled, and counts its heartbeats, which fail while `away` is set."""

    done: list[str] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    beats: int = 0
    away: bool = False
    data: bytes = b"{}"

    async def ack(self) -> None:
        self.done.append("ack")

    async def nak(self, delay: float = 0) -> None:
        self.done.append("nak")
        self.delays.append(delay)

    async def in_progress(self) -> None:
        self.beats += 1
        if self.away:
            raise NatsError

    async def beats_on(self) -> None:
        """Wait for three more heartbeats."""
        before = self.beats
        await eventually(lambda: self.beats > before + 2)


@dataclass
class FakeLetters:
    """Records the operations on the dead letters of a task."""

    done: list[str]

    async def put(self, *_: object, **__: object) -> None:
        self.done.append("letter")

    async def put_failed(self, _: object, last: ProgressEvent) -> bool:
        if last.error is not None:
            self.done.append("letter")
        return last.error is not None

    async def delete_all(self, _: str) -> None:
        self.done.append("no letter")


def granted(message: FakeMessage) -> GrantedTask:
    """A granted task, whose grant is settled by settling `message`."""
    stored = StoredMessage("tasks.transcription.high", 7, datetime.now(UTC), {}, message.data)
    return cast("GrantedTask", SimpleNamespace(raw_message=message, stored=stored))


def delivery(message: FakeMessage, *, settings: Settings = SETTINGS) -> Delivery:
    """The delivery of a message."""
    return Delivery.of(granted(message), settings, settings.task_ack_wait)


async def process(middlewares: Middlewares, task: GrantedTask, handle: Handler) -> None:
    """Process a granted task as FastStream does: call a handler within middlewares."""
    context = ContextRepo()

    async def call(_: object) -> object:
        return await handle(await current_attempt())

    for middleware in reversed(middlewares):
        call = partial(middleware(task.raw_message, context=context).consume_scope, call)
    await call(task)
