"""All channels of the service on FastStream's in-memory broker, with fakes in place of the container's parts.

The integration tests cover what FastStream's `TestNatsBroker` cannot: acknowledgements and redeliveries (its
messages ignore them), the middlewares around tasks (its messages lack JetStream's metadata), queue groups, and
how the task consumer pulls.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import AsyncMock, Mock

import pytest
import pytest_asyncio
from faststream.nats import NatsBroker, TestNatsBroker
from natscribe.schemas.channels import TASK_QUEUES
from natscribe.schemas.examples import EXAMPLES, RESULT, TURNS, WORKER_INFO
from natscribe.schemas.redaction import Redacted
from natscribe.schemas.requests import Deleted, LettersDeleted, ResultFormat, TaskStatus
from natscribe.schemas.task_list import TaskPage
from natscribe.schemas.task_queues import QueueOverview
from natscribe.schemas.voices import VoicePage

from app.container import Container
from app.engines.windows import WindowReply
from app.requests.discovery import ServiceInstance
from app.requests.task_list import TaskList
from app.requests.task_queues import QueueOverviews
from app.requests.task_requests import TaskRequests
from app.requests.text_redaction import TextRedaction
from app.requests.user_erasure import UserErasure
from app.requests.voice_requests import VoiceRequests
from app.requests.worker_report import WorkerReport
from app.speech.diarizer import Diarizer
from app.speech.live.session import LiveTranscriber
from app.speech.recordings.transcriber import Transcriber
from app.speech.updates import Append, Checkpoint, Result, Task, TaskUpdate
from app.speech.window_sharing.sharing import WorkSharing
from app.storage.jetstream.decoding import decode
from app.tasks.dead_letters.replay import Replayer
from app.tasks.dead_letters.store import DeadLetterStore
from app.tasks.queue.registration import Registration
from handlers import channels
from handlers.dependencies import provide
from handlers.task_middlewares import current_attempt
from handlers.tasks import HANDLERS

ENGINE = "3f9a0c17d2e4b586"
UPDATES = cast("tuple[TaskUpdate, ...]", ("first", "second"))  # handlers pass them on unchanged


@dataclass
class FakeEngine:
    """A transcriber or diarizer with fixed updates and result."""

    result: Result
    began: list[tuple[Task, Checkpoint | None]] = field(default_factory=list)

    async def transcribe(self, task: Task, checkpoint: Checkpoint | None, append: Append) -> Result:
        """Append all updates, and return the result."""
        self.began.append((task, checkpoint))
        for update in UPDATES:
            await append(update)
        return self.result

    async def diarize(self, task: Task, append: Append) -> Result:
        """Do the same without a checkpoint."""
        return await self.transcribe(task, None, append)


@dataclass
class FakeAttempt:
    """An attempt at a task."""

    appended: list[TaskUpdate] = field(default_factory=list)
    fails_with: Exception | None = None  # after the first update
    checkpoint: Checkpoint = field(default_factory=Checkpoint)

    async def append(self, update: TaskUpdate) -> None:
        self.appended.append(update)
        if self.fails_with is not None:
            raise self.fails_with


STATUS = TaskStatus.model_validate(EXAMPLES["TaskStatus"][0].payload)
FILES = {ResultFormat.TXT: b"hello", ResultFormat.HTML: b"<!doctype html>"}


def part(kind: type, **methods: Callable[[Any], object]) -> AsyncMock:
    """A part that records its calls, and whose methods return what these functions return."""
    return AsyncMock(spec=kind, **{f"{name}.side_effect": function for name, function in methods.items()})


def engine(kind: type, result: Result) -> Mock:
    fake = FakeEngine(result)
    return Mock(spec=kind, began=fake.began, transcribe=fake.transcribe, diarize=fake.diarize)


class Parts:
    """The fakes, under the names that the container gives to the parts."""

    def __init__(self) -> None:
        self.transcriber, self.diarizer = engine(Transcriber, RESULT), engine(Diarizer, TURNS)
        self.live_transcriber = engine(LiveTranscriber, RESULT)
        self.attempt = FakeAttempt()
        self.registration = part(Registration)
        self.tasks = part(
            TaskRequests, status=lambda _: STATUS, cancel=lambda _: STATUS, result=lambda request: FILES[request.format]
        )
        self.task_list = part(TaskList, page=lambda request: TaskPage(tasks=[], more_before=request.before))
        self.task_queues = AsyncMock(QueueOverviews, **{"read.return_value": QueueOverview(queues=[], dead_letters=3)})
        self.redaction = part(TextRedaction, redact=lambda request: Redacted(text=request.text, entities=[]))
        self.worker_report = AsyncMock(WorkerReport, **{"read.return_value": WORKER_INFO})
        self.users = part(UserErasure, delete=lambda _: Deleted(tasks=3, more_after="ended-0"))
        self.dead_letters = part(
            DeadLetterStore, delete=lambda request: LettersDeleted(deleted=2, more_after=request.after + 10)
        )
        self.replayer = part(Replayer, replay=lambda _: 3)
        self.voices = part(VoiceRequests, page=lambda _: VoicePage(voices=[]))
        self.sharing = part(WorkSharing, transcribe_window=lambda _: WindowReply(worker="0" * 32, text=None))


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service() -> AsyncIterator[NatsBroker]:
    """All channels, started once per session because that takes longer than a test; tests run on the session's loop."""
    instance = ServiceInstance("worker")
    broker, windows = NatsBroker(decoder=decode), channels.request_router(instance)
    for task_type, handler in HANDLERS.items():
        broker.subscriber(TASK_QUEUES[task_type].subject, no_reply=True)(handler)
    channels.shared_windows(windows, ENGINE)
    broker.include_routers(channels.accepted_router(), channels.request_router(instance, *channels.REQUESTS), windows)
    async with TestNatsBroker(broker) as tested:
        yield tested


@pytest.fixture
def broker(service: NatsBroker, parts: Parts) -> NatsBroker:
    async def attempt() -> object:
        return parts.attempt

    provide(service, cast("Container", parts), channels.HANDLERS)
    service.provider.override(current_attempt, attempt)
    return service
