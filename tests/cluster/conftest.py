"""Three NATS servers, workers of the test's own process on them, and a publisher that does not give up."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.jetstream.repeated_requests import retry_until_reply
from natscribe.jetstream.stream_pages import pages
from natscribe.schemas.progress import ProgressEvent, State

from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.nats_cluster import NatsCluster, nats_cluster_in
from tests.servers import valkey_in
from tests.waiting import eventually
from tests.workers import working

BUCKET = "audio"
RECORDING = "meeting.flac"
CONTENT = b"not looked at by a fake engine" * 10_000
ENDED_WITHIN = 120.0  # seconds, after the last blow
ASK_TIMEOUT = 5.0  # seconds


class SteadyEngine(FakeEngine):
    """Finds a window every `pace` seconds."""

    def __init__(self, *, windows: int = 3, pace: float = 0.0) -> None:
        super().__init__(windows=windows)
        self.pace = pace

    async def transcribes(self, number: int) -> None:
        del number
        await asyncio.sleep(self.pace)


@dataclass(frozen=True)
class Ended:
    """The data in the streams of tasks that have all ended."""

    logs: dict[str, list[ProgressEvent]]
    results: Counter[str]

    def check(self, published: Iterable[str]) -> None:
        """Each task has one end, which is `completed`, one result, and a log without holes."""
        expected = set(published)
        ends = {task: [event.state for event in log if event.state.ended] for task, log in self.logs.items()}
        assert {task: states for task, states in ends.items() if states != [State.COMPLETED]} == {}
        assert self.logs.keys() == expected
        assert self.results == Counter(dict.fromkeys(expected, 1))
        for log in self.logs.values():
            assert [event.sequence for event in log] == list(range(1, len(log) + 1))

    @property
    def tried_again(self) -> dict[str, int]:
        """The tasks that took more than one attempt, and how many they took."""
        last = {task: log[-1].attempt for task, log in self.logs.items()}
        return {task: attempt for task, attempt in last.items() if attempt > 1}


class Publisher:
    """A client: publishes until NATS acknowledges, and reads the streams."""

    def __init__(self, nc: Client) -> None:
        self.nc = nc
        self.js = nc.jetstream()
        self.acknowledged: list[str] = []

    async def upload(self) -> None:
        store = await self.js.object_store(BUCKET)
        await retry_until_reply(
            partial(store.put, RECORDING, CONTENT)
        )  # a new bucket is not known to all servers at once

    async def publish(self, task_id: str) -> None:
        body = json.dumps({"task_id": task_id, "audio_file_id": RECORDING, "user_id": 7}).encode()

        async def stored() -> bool:
            try:
                await self.js.publish("tasks.transcription.normal", body, ASK_TIMEOUT, headers={"Nats-Msg-Id": task_id})
            except NatsError:
                return False
            return True

        await eventually(stored, within=ENDED_WITHIN)
        self.acknowledged.append(task_id)

    async def publish_all(self, count: int, *, every: float = 0.0) -> None:
        """Publish `task-0`, `task-1` and so on, one each `every` seconds."""
        for number in range(count):
            await self.publish(f"task-{number}")
            await asyncio.sleep(every)

    async def log_of(self, task_id: str) -> list[ProgressEvent]:
        """The log of a task as far as it is stored; empty while NATS does not reply."""
        return (await self._logs(f"progress.{task_id}")).get(task_id, [])

    async def started(self, task_id: str) -> bool:
        """Whether a worker has taken a task."""
        return any(event.state is not State.QUEUED for event in await self.log_of(task_id))

    async def runs(self, task_id: str) -> bool:
        """Whether a worker has found something in the recording."""
        return any(event.processed_seconds for event in await self.log_of(task_id))

    async def ended(self) -> Ended:
        """The data in the streams, once all acknowledged tasks have ended."""
        logs: dict[str, list[ProgressEvent]] = {}

        async def all_ended() -> bool:
            nonlocal logs
            logs = await self._logs("progress.*")
            return self.acknowledged != [] and self._unended(logs) == {}

        try:
            await eventually(all_ended, within=ENDED_WITHIN)
        except AssertionError as error:
            message = f"not ended: {self._unended(logs)}"
            raise AssertionError(message) from error
        return Ended(logs, await eventually(self._results))

    def _unended(self, logs: dict[str, list[ProgressEvent]]) -> dict[str, State | None]:
        last = {task_id: logs[task_id][-1].state if task_id in logs else None for task_id in self.acknowledged}
        return {task_id: state for task_id, state in last.items() if state is None or not state.ended}

    async def _results(self) -> Counter[str] | None:
        """How many results each task has; None while NATS does not reply."""
        try:
            info = await self.js.stream_info("transcription_results", subjects_filter="results.*")
        except NatsError:
            return None
        counts = (info.state.subjects or {}).items()
        return Counter({subject.partition(".")[2]: count for subject, count in counts})

    async def _logs(self, subject: str) -> dict[str, list[ProgressEvent]]:
        logs: dict[str, list[ProgressEvent]] = {}
        try:
            async for page in pages(self.nc, "transcription_progress", subject):
                for message in page:
                    event = ProgressEvent.model_validate_json(message.data or b"")
                    logs.setdefault(event.task_id, []).append(event)
        except NatsError:
            return {}
        return logs


@asynccontextmanager
async def workers(settings: Settings, count: int, make: Callable[[], FakeEngine]) -> AsyncIterator[list[Worker]]:
    """Workers that take tasks until the body ends."""
    async with AsyncExitStack() as closing:
        yield [await closing.enter_async_context(working(settings, make())) for _ in range(count)]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with nats_cluster_in(tmp_path / "nats") as nodes:
        yield nodes


@pytest.fixture
async def settings(cluster: NatsCluster, tmp_path: Path) -> AsyncIterator[Settings]:
    """The defaults of the service, at three replicas, and each task computed."""
    async with valkey_in(tmp_path / "valkey") as valkey:
        yield Settings(
            _env_file=None,
            nats_url=cluster.url,
            nats_replicas=3,
            redis_url=valkey.url,
            audio_store=f"nats://{BUCKET}",
            task_grace=0.1,
            cache_ttl=0,
        )


@pytest.fixture
async def nc(cluster: NatsCluster) -> AsyncIterator[Client]:
    async with await nats.connect(
        cluster.url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.2, ping_interval=2
    ) as client:
        yield client


@pytest.fixture
def publisher(nc: Client) -> Publisher:
    return Publisher(nc)
