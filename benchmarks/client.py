"""A client that measures times; it uses only NATS and the contract."""

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind, Priority, TaskType

from benchmarks.stack import MeasurementError


@dataclass(frozen=True)
class Outcome:
    """When the events of a task were received, in seconds after its publication."""

    task_id: str
    running: float
    ended: float
    first_segments: float | None = None

    @property
    def first_segments_after_pick_up(self) -> float:
        """Seconds from the first `running` to the first text."""
        return (self.ended if self.first_segments is None else self.first_segments) - self.running


class TimedClient:
    """Publishes tasks and follows them."""

    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._js = nats.jetstream()

    async def upload(self, recording: Path) -> str:
        """Upload a recording to the service's bucket and return its id."""
        store = await self._js.object_store("audio")
        with recording.open("rb") as file:
            await store.put(recording.name, file)
        return recording.name

    async def run(
        self,
        audio_file_id: str,
        *,
        kind: Kind = Kind.TRANSCRIPTION,
        priority: Priority = Priority.NORMAL,
        **options: object,
    ) -> Outcome:
        """Publish a task and wait for its end.

        Raises:
            MeasurementError: The task ends without a result.
        """
        task_id = secrets.token_hex(8)
        events = _Events(task_id)
        subscriptions = [
            await self._nats.subscribe(subjects.progress(task_id), cb=events.progress),
            await self._nats.subscribe(subjects.segments(task_id), cb=events.segments),
        ]
        await self._nats.flush()
        task = {"task_id": task_id, "audio_file_id": audio_file_id, "user_id": 1, **options}
        events.published = time.perf_counter()
        await self._js.publish(
            subjects.tasks(TaskType(kind), priority), json.dumps(task).encode(), headers={"Nats-Msg-Id": task_id}
        )
        try:
            return await events.outcome
        finally:
            for subscription in subscriptions:
                await subscription.unsubscribe()

    async def result(self, outcome: Outcome) -> dict[str, Any]:
        """The result of the task."""
        request = json.dumps({"task_id": outcome.task_id, "format": "json"}).encode()
        reply = await self._nats.request("tasks.result", request, timeout=10)
        result: dict[str, Any] = json.loads(reply.data)
        return result

    async def process(
        self, recording: Path, *, kind: Kind = Kind.TRANSCRIPTION, **options: object
    ) -> tuple[float, dict[str, Any]]:
        """Upload a recording and run a task; return the seconds from publication to `completed`, and the result."""
        outcome = await self.run(await self.upload(recording), kind=kind, priority=Priority.NORMAL, **options)
        return outcome.ended, await self.result(outcome)


class _Events:
    """The first event of each kind of a task."""

    def __init__(self, task_id: str) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.published = 0.0
        self._task_id = task_id
        self._running: float | None = None
        self._segments: float | None = None

    async def progress(self, message: Msg) -> None:
        now = time.perf_counter() - self.published
        event = ProgressEvent.model_validate_json(message.data)
        if event.state is State.RUNNING and self._running is None:
            self._running = now
        elif event.state is State.COMPLETED:
            self.outcome.set_result(Outcome(self._task_id, self._running or 0.0, now, self._segments))
        elif event.state.ended:
            self.outcome.set_exception(MeasurementError(f"the task ended as {event.state}: {event.error}"))

    async def segments(self, _: Msg) -> None:
        if self._segments is None:
            self._segments = time.perf_counter() - self.published
