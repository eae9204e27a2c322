"""A delivery in a worker that has only the components that a test passes."""

from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

from nats.aio.client import Client
from nats.errors import Error as NatsError

from app.execution.delivery import Delivery, ExecutionContext
from app.queue.granted_task import GrantedTask
from app.queue.stored_message import StoredMessage
from app.settings import Settings
from app.telemetry.metrics import Meter
from app.telemetry.tracing import OFF
from tests.waiting import eventually

SETTINGS = Settings(_env_file=None)


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

    async def put_failed(self, *_: object) -> bool:
        self.done.append("letter")
        return True

    async def delete_all(self, _: str) -> None:
        self.done.append("no letter")


def delivery(message: FakeMessage, *, settings: Settings = SETTINGS, **parts: Any) -> Delivery:
    """The delivery of a message; `parts` by their names in `ExecutionContext`."""
    others = ("log", "registration", "results", "dead_letters", "reminders", "projection", "connection")
    execution = ExecutionContext(
        nats=parts.pop("nats", None) or AsyncMock(spec=Client),
        settings=settings,
        meter=Meter(),
        tracer=OFF.get_tracer("tests"),
        ack_wait=settings.task_ack_wait,
        sharing=cast("Any", SimpleNamespace(pause_sharing=nullcontext)),
        messages=parts.pop(
            "messages", SimpleNamespace(find=AsyncMock(return_value=None), delete=AsyncMock(), note_retry=AsyncMock())
        ),
        **dict.fromkeys(others, cast("Any", SimpleNamespace(withdraw=AsyncMock()))) | parts,
    )
    stored = StoredMessage("tasks.transcription.high", 7, datetime.now(UTC), {}, message.data)
    return Delivery(execution, cast("GrantedTask", SimpleNamespace(raw_message=message, stored=stored)))
