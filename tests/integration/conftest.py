"""A whole worker in the test's own process, with an engine whose replies are scripted."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from natscribe.jetstream.nats_py_compat import SafeConnection, tolerate_unreadable_messages
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind, Priority, TaskType
from redis.asyncio import Redis

from app.command.embedded import free_port
from app.main import Worker
from app.settings import Settings
from app.tasks.queue import positions, scheduler
from app.tasks.queue.task_slots import SlotMiddleware
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.wire import Wire
from tests.s3_server import S3Server
from tests.servers import NatsServer, Servers, ValkeyServer, in_memory, nats_server_in, valkey_in
from tests.waiting import DEADLINE, patiently
from tests.workers import working

CLIENTS_WAIT_S = 10.0  # for a reply, before they send the request once more
StartWorker = Callable[..., AbstractAsyncContextManager[Worker]]


@pytest.fixture(autouse=True)
def _lost_workers_are_soon_replaced(constants: Constants) -> None:
    """Workers poll often after an outage, and wait little for a lost worker."""
    constants(RETRY_AFTER_S=0.3, RECONNECTED_WITHIN_S=1.0)


@pytest.fixture(autouse=True)
def _positions_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the position of a task may be known later than a worker waits for it."""
    monkeypatch.setattr(positions, "REPLY_WITHIN_S", 5.0)
    monkeypatch.setattr(scheduler, "READ_WITHIN_S", 3.0)
    monkeypatch.setattr(scheduler, "COMPUTED_WITHIN_S", 4.0)


@pytest.fixture(autouse=True)
def _clients_are_patient(constants: Constants) -> None:
    """On a busy machine a reply may take longer than clients wait."""
    constants(REPLY_TIMEOUT_S=patiently(DEADLINE))


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def wire(request: pytest.FixtureRequest, servers: Servers, nc: Client) -> AsyncIterator[Wire]:
    """Whatever a test is about: nothing passes that is not stored, nor anything that the document does not describe.

    Tests marked `foreign` say themselves what the document does not know.
    """
    listener = SafeConnection()
    await listener.connect(servers.nats_url)
    tolerate_unreadable_messages(listener)
    recorder = Wire()
    await recorder.subscribe(listener)
    yield recorder
    await listener.flush()
    await listener.drain()
    if request.node.get_closest_marker("foreign") is None:
        assert recorder.unstored() == []
        assert recorder.strangers() == []


@pytest.fixture
def start_worker(settings: Settings, nc: Client, redis: Redis, wire: Wire) -> StartWorker:
    """Start workers; each ends with its `async with`."""

    return partial(working, settings)


@pytest.fixture
async def worker(start_worker: StartWorker, engine: FakeEngine) -> AsyncIterator[Worker]:
    async with start_worker(engine) as service:
        yield service


@pytest.fixture
def crashes_end_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot whose handler raises what no `except Exception` catches takes no more tasks, as if its worker had died."""
    after_processed = SlotMiddleware.after_processed

    async def end(
        self: SlotMiddleware, kind: type[BaseException] | None, error: BaseException | None, *_: object
    ) -> object:
        if error is not None and not isinstance(error, Exception | asyncio.CancelledError):
            self._slot.subscriber.running = False
        return await after_processed(self, kind, error)

    monkeypatch.setattr(SlotMiddleware, "after_processed", end)


@pytest.fixture
async def binary_redis(redis: Redis, servers: Servers) -> AsyncIterator[Redis]:
    """A client as the service has it: replies are bytes; `redis` cleans up."""
    async with Redis.from_url(servers.redis_url) as client:
        yield client


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    """A server of this test's own, which the test may stop or change."""
    async with nats_server_in(tmp_path / "nats") as server:
        yield server


@pytest.fixture
async def valkey(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A server of this test's own, which the test may stop or change."""
    async with valkey_in(tmp_path / "valkey") as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def s3_server() -> AsyncIterator[S3Server]:
    """A server with the protocol of S3 for all tests of this process."""
    with in_memory() as folder:
        server = S3Server(folder / "s3", free_port())
        await server.start()
        yield server
        await server.kill()  # it would take seconds to end, for nothing


class Publisher:
    """Another service: knows NATS and the contract, nothing else."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.js: JetStreamContext = nc.jetstream()

    async def publish(
        self,
        task_id: str,
        *,
        kind: Kind = Kind.TRANSCRIPTION,
        priority: Priority = Priority.NORMAL,
        seconds: object = None,
        **options: object,
    ) -> None:
        task = {"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 7} | options
        headers = None if seconds is None else {AUDIO_SECONDS: str(seconds)}
        await self.js.publish(subjects.tasks(TaskType(kind), priority), json.dumps(task).encode(), headers=headers)

    async def events(self, task_id: str) -> AsyncIterator[ProgressEvent]:
        """All events of a task from the first on, until one ends it."""
        subscription = await self.js.subscribe(
            subjects.progress(task_id), stream="transcription_progress", ordered_consumer=True
        )
        try:
            while True:
                message = await subscription.next_msg(timeout=patiently(DEADLINE))
                event = ProgressEvent.model_validate_json(message.data)
                yield event
                if event.state.ended:
                    return
        finally:
            await subscription.unsubscribe()

    async def until(self, task_id: str, state: State) -> list[ProgressEvent]:
        """The events of a task up to the first in this state."""
        events = []
        async with asyncio.timeout(patiently(DEADLINE)):
            async for event in self.events(task_id):
                events.append(event)
                if event.state is state:
                    return events
        message = f"{task_id} ended without {state}: {[event.state for event in events]}"
        raise AssertionError(message)

    async def reaching(self, state: State, task_id: str, **options: Any) -> list[ProgressEvent]:
        """Publish a task; return its events up to the first in this state."""
        await self.publish(task_id, **options)
        return await self.until(task_id, state)

    async def is_completed(self, task_id: str) -> bool:
        """Whether a task has completed; what follows its log may stumble over what others wrote there."""
        return (await self.request(subjects.STATUS, task_id=task_id)).get("state") == State.COMPLETED

    async def request(self, subject: str, **fields: object) -> dict[str, Any]:
        return await self._reply(subject, fields, within=DEADLINE)

    async def repeat_request(self, subject: str, task_id: str) -> dict[str, Any]:
        """The reply to a request that is repeated, as a client does, when none comes, and when the error says so."""
        async with asyncio.timeout(patiently(DEADLINE)):
            while True:
                with suppress(nats.errors.TimeoutError):  # the worker had lost its connection
                    reply = await self._reply(subject, {"task_id": task_id}, within=CLIENTS_WAIT_S)
                    if (reply.get("error") or {}).get("code") != ErrorCode.INTERNAL:
                        return reply

    async def _reply(self, subject: str, fields: dict[str, object], *, within: float) -> dict[str, Any]:
        reply = await self.nc.request(subject, json.dumps(fields).encode(), timeout=patiently(within))
        parsed_reply: dict[str, Any] = json.loads(reply.data)
        return parsed_reply


@pytest.fixture
def publisher(nc: Client) -> Publisher:
    return Publisher(nc)


def parsed(message: RawStreamMsg) -> dict[str, Any]:
    """What a stored message says."""
    assert message.data is not None
    body: dict[str, Any] = json.loads(message.data)
    return body


async def results(js: JetStreamContext) -> list[str]:
    """Whose results there are, in the order in which they came."""
    last = (await js.stream_info("transcription_results")).state.last_seq
    messages = [await js.get_msg("transcription_results", seq) for seq in range(1, last + 1)]
    return [parsed(message)["task_id"] for message in messages]


async def queue_is_empty(js: JetStreamContext) -> bool:
    return (await js.stream_info("transcription_tasks")).state.messages == 0
