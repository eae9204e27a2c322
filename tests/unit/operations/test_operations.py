"""What a worker says of itself and of its queues: metrics, health, and its report."""

import asyncio
import json
from datetime import timedelta
from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock

import pytest
from faststream.nats import NatsBroker
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority, TaskType
from structlog.testing import capture_logs

from app import container
from app.fleet import health, memory
from app.fleet.stream_guard.guard import StreamGuard
from app.main import Worker
from app.storage.jetstream.lease import Duties, Lease
from app.tasks.projection.projection import RedisProjection
from app.tasks.queue.task_slots import TaskSlots
from tests.asgi import request
from tests.fakes.engine import FakeEngine
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, SETTINGS, UNREADABLE, Parts

QUEUE = "tasks.transcription.normal"
INFO = f"$JS.API.STREAM.INFO.{NAMES.tasks}"


def figure(parts: Parts, name: str, **labels: str) -> float | None:
    return parts.meter.registry.get_sample_value(name, labels)


async def test_the_figures_of_a_queue_are_those_of_its_messages(parts: Parts, nats: InMemoryNats) -> None:
    # Given three tasks that wait, one of which has no known duration, a dead letter, and a reminder that is due
    for task_id, seconds in (("a", 30), ("b", 90), ("c", None)):
        await parts.publish(task_id, seconds=seconds)
    failed = await parts.publish("d", TaskType.DIARIZATION, Priority.HIGH)
    await parts.dead_letters.put(failed, "d", UNREADABLE, attempts=1)
    await nats.jetstream().publish("retention.due.user.recording.task", b"{}")
    nats.ahead = timedelta(minutes=1)
    # When it is measured a minute later
    await parts.maintenance.measure_queues()
    # Then they are counted, and unknown durations are estimated from the others
    assert figure(parts, "task_queue_size", queue_name=QUEUE) == 3
    assert figure(parts, "natscribe_task_backlog_audio_seconds", queue_name=QUEUE) == 120
    assert figure(parts, "natscribe_task_oldest_waiting_seconds", queue_name=QUEUE) == pytest.approx(60, abs=5)
    assert figure(parts, "natscribe_stream_messages", queue_name=QUEUE) == 3
    assert figure(parts, "natscribe_stream_messages_limit", queue_name=QUEUE) == 10_000
    assert figure(parts, "task_queue_size", queue_name="tasks.transcription.high") == 0
    assert figure(parts, "natscribe_dead_letters_kept") == 1
    assert figure(parts, "natscribe_reminders") == 1
    assert figure(parts, "natscribe_erasure_overdue_seconds") == pytest.approx(60, abs=5)


async def test_an_overview_has_what_waits_in_each_queue(parts: Parts) -> None:
    # Given two tasks that wait in one queue, and a message that is no task in another
    for task_id in ("a", "b"):
        await parts.reaching(State.QUEUED, task_id, seconds=30)
    await parts.publish("", TaskType.DIARIZATION, Priority.LOW, body=b"{")
    # When a client requests an overview
    async with parts.scheduling():
        status_by_key = {(status.queue, status.priority): status for status in (await parts.task_queues.read()).queues}
    # Then each queue has what waits there
    full, broken = (
        status_by_key[TaskType.TRANSCRIPTION, Priority.NORMAL],
        status_by_key[TaskType.DIARIZATION, Priority.LOW],
    )
    assert (full.waiting, broken.waiting, sum(status.waiting for status in status_by_key.values())) == (2, 1, 3)
    assert [status for status in status_by_key.values() if status.oldest is not None] == [full, broken]


def test_a_process_measures_its_memory() -> None:
    assert memory.resident() > 10_000_000
    assert memory.resident(0) == 0


@pytest.mark.parametrize("empty", [True, False])
async def test_a_new_redis_restarts_the_projection(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch, empty: bool
) -> None:
    # Given a Redis that has lost its data, or not
    mark = AsyncMock()
    monkeypatch.setattr(RedisProjection, "is_empty", AsyncMock(return_value=empty))
    monkeypatch.setattr(RedisProjection, "mark", mark)
    # When a worker checks, then it projects everything again only if Redis is empty
    await parts.maintenance.restart_projection()
    assert mark.called is empty
    assert any(subject.startswith("$JS.API.CONSUMER.DELETE") for subject in nats.requests) is empty


async def test_a_duty_that_fails_ends_the_others(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given duties one of which ends with an error
    async def run(_: Lease, duties: Duties, *, check: Duties) -> None:
        del check
        await duties()

    monkeypatch.setattr(Lease, "run", run)
    monkeypatch.setattr(StreamGuard, "run", AsyncMock(side_effect=NatsTimeoutError))
    before = asyncio.all_tasks()
    # Then the same error is raised, and no duty continues
    with pytest.raises(NatsTimeoutError):
        await parts.maintenance.run_for_fleet()
    assert asyncio.all_tasks() == before


def broker(nats: InMemoryNats) -> NatsBroker:
    return cast("NatsBroker", AsyncMock(connect=AsyncMock(return_value=nats.client)))


async def test_an_error_of_jetstream_shows_that_nats_responds(nats: InMemoryNats) -> None:
    assert await health.nats_responds(broker(nats), SETTINGS)
    # When it does not reply, or the connection is lost, then it does not
    nats.before(INFO, NatsTimeoutError())
    assert not await health.nats_responds(broker(nats), SETTINGS)
    nats.is_connected = False
    assert not await health.nats_responds(broker(nats), SETTINGS)
    # And a refusal is a reply
    del nats.streams[NAMES.tasks]
    assert not await health.nats_responds(broker(nats), SETTINGS)
    nats.is_connected = True
    assert await health.nats_responds(broker(nats), SETTINGS)


async def test_a_worker_is_not_ready_without_its_streams(parts: Parts, nats: InMemoryNats) -> None:
    def is_ready() -> bool:
        return parts.stream_guard.are_streams_whole

    # Given a worker whose streams were not checked yet
    assert not is_ready()
    # When all of them exist, then it is ready
    await parts.stream_guard.check()
    assert is_ready()
    # And when NATS refuses to create one, then it is not
    del nats.streams[NAMES.tasks]
    nats.before(f"$JS.API.STREAM.CREATE.{NAMES.tasks}", APIError(code=500, err_code=10052))
    await parts.stream_guard.check()
    assert not is_ready()


@pytest.mark.parametrize(("holds", "status"), [(True, 200), (False, 503)])
async def test_a_route_reports_which_check_fails(holds: bool, status: int) -> None:
    # Given a check that holds, and one that may not
    route = health.route(("/health/live",), first=lambda: True, second=AsyncMock(return_value=holds))
    # When a client requests it
    reported, _, body = await request(route, "/")
    # Then the reply has both, and where the details are
    assert reported == status
    assert json.loads(body) == {"ok": holds, "first": True, "second": holds, "see": ["/health/live"]}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def started(nats: InMemoryNats, engine: FakeEngine) -> Worker:
    worker = Worker(SETTINGS, engine)
    worker._container = Parts(nats, engine=engine)  # noqa: SLF001 -- the rest of a start needs servers
    return worker


@pytest.mark.parametrize(
    ("path", "ready", "status"), [("startup", False, 503), ("startup", True, 200), ("live", False, 200)]
)
async def test_a_worker_has_started_when_its_model_is_loaded(
    engine: FakeEngine, path: str, ready: bool, status: int
) -> None:
    engine.loaded = engine.loaded if ready else None
    assert (await request(Worker(SETTINGS, engine).app, f"/health/{path}"))[0] == status


@pytest.mark.parametrize(("ready", "busy", "loads"), [(True, False, False), (False, False, True), (False, True, False)])
async def test_a_model_is_loaded_if_none_is_and_no_task_runs(
    nats: InMemoryNats, engine: FakeEngine, ready: bool, busy: bool, loads: bool
) -> None:
    engine.loaded, worker = engine.loaded if ready else None, started(nats, engine)
    worker.container.slots = cast("TaskSlots", SimpleNamespace(busy=busy))
    with capture_logs() as lines:
        await worker._load_model()  # noqa: SLF001 -- a worker repeats it
    assert [line["event"] for line in lines] == ["model_loaded"] * loads


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_new_projection_starts_with_a_marked_redis(
    nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    # Given streams that may lack the consumer that feeds Redis
    if is_new:
        del nats.streams[NAMES.progress].consumers[NAMES.progress_projection]
    monkeypatch.setattr(RedisProjection, "mark", mark := AsyncMock())
    parts = Parts(nats)
    # When a worker starts, then Redis is marked if the consumer is new: it delivers everything anyway
    await parts.start_guard()
    assert mark.called is is_new
    assert parts.projection.stream_created_at == str(nats.streams[NAMES.progress].created)


@pytest.mark.parametrize("running", [True, False])
async def test_a_worker_is_ready_while_its_slots_run(nats: InMemoryNats, engine: FakeEngine, running: bool) -> None:
    worker = started(nats, engine)
    worker.container.slots = cast("TaskSlots", SimpleNamespace(running=running))
    assert worker._needs()["task_consumer"]() is running  # noqa: SLF001 -- the route sends a request to NATS, too


@pytest.mark.parametrize(("cores", "setting", "streams"), [(2, 0, 8), (0.1, 0, 1), (64, 0, 48), (2, 3, 3)])
def test_a_core_runs_four_live_tasks(monkeypatch: pytest.MonkeyPatch, cores: float, setting: int, streams: int) -> None:
    monkeypatch.setattr(container, "usable_cores", lambda: cores)
    assert container.live_tasks_at_once(setting) == streams
