"""A client that measures times; it uses only NATS and the contract."""

import asyncio
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind, Priority, Queue

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


class Caller:
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
        heard = _Heard(task_id)
        hearing = [
            await self._nats.subscribe(subjects.progress(task_id), cb=heard.progress),
            await self._nats.subscribe(subjects.segments(task_id), cb=heard.segments),
        ]
        await self._nats.flush()
        task = {"task_id": task_id, "audio_file_id": audio_file_id, "user_id": 1, **options}
        began = time.perf_counter()
        await self._js.publish(
            subjects.tasks(Queue(kind), priority), json.dumps(task).encode(), headers={"Nats-Msg-Id": task_id}
        )
        try:
            return (await heard.end).after(began)
        finally:
            for subscription in hearing:
                await subscription.unsubscribe()

    async def result(self, outcome: Outcome) -> dict[str, object]:
        """The result of the task."""
        request = json.dumps({"task_id": outcome.task_id, "format": "json"}).encode()
        answer = await self._nats.request("tasks.result", request, timeout=10)
        result: dict[str, object] = json.loads(answer.data)
        return result


class _Heard:
    def __init__(self, task_id: str) -> None:
        self.end: asyncio.Future[_Times] = asyncio.get_running_loop().create_future()
        self._times = _Times(task_id)

    async def progress(self, message: Msg) -> None:
        now = time.perf_counter()
        event = ProgressEvent.model_validate_json(message.data)
        if event.state is State.RUNNING:
            self._times.running = self._times.running or now
        elif event.state is State.COMPLETED:
            self._times.ended = now
            self.end.set_result(self._times)
        elif event.state.ended:
            self.end.set_exception(MeasurementError(f"the task ended as {event.state}: {event.error}"))

    async def segments(self, _: Msg) -> None:
        self._times.first_segments = self._times.first_segments or time.perf_counter()


@dataclass
class _Times:
    task_id: str
    running: float = 0.0
    ended: float = 0.0
    first_segments: float = 0.0

    def after(self, began: float) -> Outcome:
        segments = self.first_segments - began if self.first_segments else None
        return Outcome(self.task_id, self.running - began, self.ended - began, segments)
