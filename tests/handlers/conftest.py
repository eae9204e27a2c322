"""All channels of the service on FastStream's in-memory broker, with fakes in place of the container's parts.

The integration tests cover what FastStream's `TestNatsBroker` cannot: acknowledgements and redeliveries (its
messages ignore them), the middleware that runs deliveries (its messages lack JetStream's metadata), queue groups, and
how the task consumer pulls.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest
import pytest_asyncio
from faststream.nats import NatsBroker, NatsRouter, TestNatsBroker
from natscribe.schemas.requests import (
    Deleted,
    DeleteLettersRequest,
    LettersDeleted,
    ReplayRequest,
    ResultFormat,
    ResultRequest,
    TaskStatus,
    UserRequest,
)
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.task_queues import QueueOverview
from natscribe.schemas.voices import VoicePage, VoicesRequest
from natscribe.schemas.windows import WindowReply, WindowRequest
from natscribe.schemas.workers import WorkerInfo

from app.jetstream.decoding import decode
from app.queue.registration import Announcement
from app.settings import Settings
from app.updates import Append, Checkpoint, Result, Task, Update
from handlers import channels
from handlers.task_queues import declare_queues

ENGINE = "3f9a0c17d2e4b586"
UPDATES = cast("tuple[Update, ...]", ("first", "second"))  # handlers pass them on unchanged
RESULT = cast("Result", "result")


@dataclass
class FakeEngine:
    """A transcriber or diarizer with fixed updates and result."""

    began: list[tuple[Task, Checkpoint | None]] = field(default_factory=list)

    async def transcribe(self, task: Task, checkpoint: Checkpoint | None, append: Append) -> Result:
        """Append all updates, and return the result."""
        self.began.append((task, checkpoint))
        for update in UPDATES:
            await append(update)
        return RESULT

    async def diarize(self, task: Task, append: Append) -> Result:
        """Do the same without a checkpoint."""
        return await self.transcribe(task, None, append)


@dataclass
class FakeDelivery:
    """The delivery of a task message, and its attempt."""

    begun: list[Task] = field(default_factory=list)
    appended: list[Update | Result] = field(default_factory=list)
    fails_with: Exception | None = None  # after the first update
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    async def begin(self, task: Task) -> "FakeDelivery":
        self.begun.append(task)
        return self

    async def append(self, update: Update) -> None:
        self.appended.append(update)
        if self.fails_with is not None:
            raise self.fails_with

    async def publish(self, result: Result) -> None:
        self.appended.append(result)


@dataclass
class FakeRegistration:
    announced: list[tuple[Announcement, bool]] = field(default_factory=list)
    fails_with: Exception | None = None

    async def announce(self, announced: Announcement, *, replayed: bool) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        self.announced.append((announced, replayed))


@dataclass
class FakeRequests:
    """Statuses and results of tasks, in memory."""

    known: dict[str, TaskStatus] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    asked: list[ResultRequest] = field(default_factory=list)
    fails_with: Exception | None = None

    async def status(self, task_id: str) -> TaskStatus:
        if self.fails_with is not None:
            raise self.fails_with
        return self.known[task_id]

    async def cancel(self, task_id: str) -> TaskStatus:
        return self.known[task_id]

    async def delete(self, task_id: str) -> None:
        self.deleted.append(task_id)

    async def result(self, request: ResultRequest) -> bytes:
        self.asked.append(request)
        return {ResultFormat.TXT: b"hello", ResultFormat.HTML: b"<!doctype html>"}.get(request.format, b"WEBVTT")


@dataclass
class FakeTaskList:
    asked: list[ListRequest] = field(default_factory=list)

    async def page(self, request: ListRequest) -> TaskPage:
        self.asked.append(request)
        return TaskPage(tasks=[], more_before=request.before)


@dataclass
class FakeTaskQueues:
    overview: QueueOverview = field(default_factory=lambda: QueueOverview(queues=[], dead_letters=3))

    async def read(self) -> QueueOverview:
        return self.overview


WORKER = WorkerInfo(
    worker="w1",
    version="0.3.0",
    started_at=datetime(2026, 11, 26, tzinfo=UTC),
    idle=True,
    model=None,
    engine="",
    audio_store="nats://audio",
    audio_store_answers=True,
    redis_answers=False,
)


class FakeWorkerReport:
    async def read(self) -> WorkerInfo:
        return WORKER


@dataclass
class FakeUsers:
    asked: list[UserRequest] = field(default_factory=list)

    async def delete(self, request: UserRequest) -> Deleted:
        self.asked.append(request)
        return Deleted(tasks=3, more_after="ended-0")


@dataclass
class FakeDeadLetters:
    """Both the store of dead letters and their replay."""

    chosen: list[ReplayRequest | DeleteLettersRequest] = field(default_factory=list)

    async def replay(self, request: ReplayRequest) -> int:
        self.chosen.append(request)
        return 3

    async def delete(self, request: DeleteLettersRequest) -> LettersDeleted:
        self.chosen.append(request)
        return LettersDeleted(deleted=2, more_after=request.after + 10)


class FakeVoices:
    """The voices of a user without voices."""

    async def page(self, _: VoicesRequest) -> VoicePage:
        return VoicePage(voices=[])


@dataclass
class FakeSharing:
    asked: list[WindowRequest] = field(default_factory=list)

    async def transcribe_window(self, request: WindowRequest) -> WindowReply:
        self.asked.append(request)
        return WindowReply(worker="0" * 32, text=None)


@dataclass
class Parts:
    """The fakes, under the names of the handlers' parameters."""

    transcriber: FakeEngine = field(default_factory=FakeEngine)
    live_transcriber: FakeEngine = field(default_factory=FakeEngine)
    diarizer: FakeEngine = field(default_factory=FakeEngine)
    delivery: FakeDelivery = field(default_factory=FakeDelivery)
    registration: FakeRegistration = field(default_factory=FakeRegistration)
    tasks: FakeRequests = field(default_factory=FakeRequests)
    task_list: FakeTaskList = field(default_factory=FakeTaskList)
    task_queues: FakeTaskQueues = field(default_factory=FakeTaskQueues)
    worker_report: FakeWorkerReport = field(default_factory=FakeWorkerReport)
    users: FakeUsers = field(default_factory=FakeUsers)
    dead_letters: FakeDeadLetters = field(default_factory=FakeDeadLetters)
    replayer: FakeDeadLetters = field(default_factory=FakeDeadLetters)
    sharing: FakeSharing = field(default_factory=FakeSharing)
    voices: FakeVoices = field(default_factory=FakeVoices)


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service() -> AsyncIterator[NatsBroker]:
    """All channels, started once per session because that takes longer than a test; tests run on the session's loop."""
    broker, tasks, windows = NatsBroker(decoder=decode), NatsRouter(), channels.request_router()
    declare_queues(tasks, Settings(_env_file=None).stream_names)
    channels.shared_windows(windows, ENGINE)
    broker.include_routers(tasks, channels.accepted_router(), channels.request_router(*channels.REQUESTS), windows)
    async with TestNatsBroker(broker) as tested:
        yield tested


@pytest.fixture
def broker(service: NatsBroker, parts: Parts) -> NatsBroker:
    for name, part in vars(parts).items():
        service.context.set_global(name, part)
    return service
