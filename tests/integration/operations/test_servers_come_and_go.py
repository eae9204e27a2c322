"""Servers come and go under a worker: it waits, mends, catches up, and loses nothing."""

import asyncio
import json
from functools import partial
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from natscribe.jetstream import leader_reads
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind
from natscribe.schemas.workers import Problem
from redis.asyncio import Redis

from app.fleet.stream_guard import provisioning
from app.main import Worker
from app.settings import Settings
from app.storage.redis.keys import MARK
from app.tasks.queue.registration import Registration
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, parsed, queue_is_empty
from tests.integration.own_servers import nc, redis, settings
from tests.servers import NatsServer, ValkeyServer
from tests.waiting import eventually

__all__ = ["nc", "redis", "settings"]  # fixtures

OUTAGE_S = 1.6  # longer than the queue waits for a sign of life
LATE_S = 4.0  # a worker that reconnects this late has lost its delivery, but not its task


@pytest.fixture(autouse=True)
def _look_often(constants: Constants) -> None:
    constants(CHECK_EVERY_S=0.2)


async def has_result(redis: Redis, task_id: str) -> bool:
    return bool(await redis.exists(f"task:{task_id}:result"))


async def is_shown_completed(redis: Redis, task_id: str) -> bool:
    info = await redis.get(f"task:{task_id}:info")
    return info is not None and json.loads(info)["state"] == "completed"


async def test_a_task_outlives_a_restart_of_nats(
    publisher: Publisher, worker: Worker, engine: FakeEngine, nats_server: NatsServer
) -> None:
    # Given a task in the middle of its recording
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    # When NATS is killed, and restarted with its data after a longer time than the queue waits for a heartbeat
    await nats_server.kill()
    engine.may_go_on.set()
    await asyncio.sleep(OUTAGE_S)
    await nats_server.start()
    # Then the task ends once, and well
    events = await publisher.until("t1", State.COMPLETED)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    await eventually(lambda: queue_is_empty(publisher.js))


async def test_a_start_waits_for_a_nats_that_dies_meanwhile(
    publisher: Publisher, start_worker: StartWorker, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a NATS that dies as soon as a worker is connected, and is restarted when that has waited for a reply in vain
    provision = provisioning.provision

    async def dies(*arguments: Any, **options: Any) -> dict[str, Problem]:
        monkeypatch.setattr(provisioning, "provision", provision)  # once
        await nats_server.kill()
        try:
            return await provision(*arguments, **options)
        finally:
            await nats_server.start()

    monkeypatch.setattr(provisioning, "provision", dies)
    # When the worker is started
    async with start_worker(FakeEngine()):
        # Then it has repeated the request, and works
        await publisher.reaching(State.COMPLETED, "t1")


async def test_a_task_outlives_a_nats_that_hangs(
    publisher: Publisher, worker: Worker, engine: FakeEngine, nats_server: NatsServer
) -> None:
    # Given a server that keeps its connections and does not reply for a while
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    nats_server.pause()
    engine.may_go_on.set()
    await eventually(partial(_is_stopped, nats_server))
    await asyncio.sleep(OUTAGE_S)
    nats_server.resume()
    # Then the task ends once, and well
    events = await publisher.until("t1", State.COMPLETED)
    assert [event.state for event in events].count(State.COMPLETED) == 1
    await eventually(lambda: asyncio.sleep(0, worker.container.stream_guard.are_streams_whole))


@pytest.mark.parametrize("what", ["ready", "grants", "projection", "stream", "log"])
async def test_streams_deleted_while_a_worker_runs_are_recreated(
    publisher: Publisher, worker: Worker, settings: Settings, redis: Redis, what: str
) -> None:
    # Given a worker that has worked
    await publisher.reaching(State.COMPLETED, "before")
    # When a client deletes the streams that it needs
    called = settings.stream_names
    if what == "ready":
        await publisher.js.delete_consumer(called.ready, called.slot_consumer("recordings"))
    elif what == "projection":
        await publisher.js.delete_consumer(called.progress, called.progress_projection)
    else:
        await publisher.js.delete_stream({"grants": called.ready, "stream": called.tasks, "log": called.progress}[what])

    async def mended() -> bool:
        return not (await provisioning.inspect_streams(publisher.js, settings)).missing

    # Then it is there again, and the next task is done and projected
    await eventually(mended)
    await publisher.reaching(State.COMPLETED, "after")
    await eventually(lambda: has_result(redis, "after"))


async def test_the_work_goes_on_without_valkey(
    publisher: Publisher, worker: Worker, valkey: ValkeyServer, redis: Redis
) -> None:
    # Given a Valkey that is stopped
    await valkey.kill()
    await publisher.reaching(State.COMPLETED, "t1")
    # When it comes back, the keys are caught up
    await valkey.start()
    await eventually(lambda: has_result(redis, "t1"), within=20)
    await eventually(lambda: is_shown_completed(redis, "t1"))


async def test_a_task_cannot_be_half_deleted(publisher: Publisher, worker: Worker, valkey: ValkeyServer) -> None:
    # Given a task, and a Valkey that is stopped
    await publisher.reaching(State.COMPLETED, "t1")
    await valkey.kill()
    # When it is to be deleted, then the error says to try again
    assert (await publisher.request("tasks.delete", task_id="t1"))["error"]["code"] == "internal"
    assert (await publisher.request("tasks.status", task_id="t1"))["state"] == "completed"
    # Then that helps
    await valkey.start()

    async def deleted() -> bool:
        return bool((await publisher.request("tasks.delete", task_id="t1")).get("deleted"))

    await eventually(deleted)


async def test_a_valkey_that_lost_its_data_is_filled_again(publisher: Publisher, worker: Worker, redis: Redis) -> None:
    # Given a task whose keys are there
    await publisher.reaching(State.COMPLETED, "t1")
    await eventually(lambda: has_result(redis, "t1"))
    await eventually(lambda: redis.exists(MARK))
    # When all keys are lost
    await redis.flushall()
    # Then they come back
    await eventually(lambda: has_result(redis, "t1"))
    await eventually(lambda: is_shown_completed(redis, "t1"))


async def test_a_full_disk_refuses_the_publisher_and_harms_nothing(
    publisher: Publisher, start_worker: StartWorker, settings: Settings
) -> None:
    """The server's storage limit simulates a full disk: both refuse to store."""
    await provisioning.provision(publisher.js, settings)
    config = (await publisher.js.stream_info("transcription_progress")).config
    config.max_bytes, config.discard = 600, nats.js.api.DiscardPolicy.NEW
    await publisher.js.update_stream(config)
    async with start_worker(FakeEngine()) as worker:
        # Given a log that takes nothing more
        await publisher.publish("t1")
        await asyncio.sleep(1)  # the full disk itself
        assert worker.container.slots.running
        # When there is room again
        config.max_bytes = -1
        await publisher.js.update_stream(config)
        # Then the task is done
        await publisher.until("t1", State.COMPLETED)


async def test_a_silence_of_nats_costs_a_task_no_attempt(
    publisher: Publisher,
    start_worker: StartWorker,
    nats_server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
    constants: Constants,
) -> None:
    # Given a running task
    engine, unanswered, read = FakeEngine(), asyncio.Event(), leader_reads.last_message

    async def ask_in_vain(connection: Client, stream: str, subject: str) -> RawStreamMsg | None:
        try:
            return await read(connection, stream, subject)
        except nats.errors.TimeoutError:
            unanswered.set()
            raise

    monkeypatch.setattr(leader_reads, "last_message", ask_in_vain)
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.publish("t1")
        await eventually(lambda: bool(engine.jobs))
        # When NATS does not reply while the worker checks the owner of the task
        constants(REQUEST_TIMEOUT_S=0.2)
        unanswered.clear()
        nats_server.pause()
        engine.may_go_on.set()
        await unanswered.wait()  # for a reply, for which the worker waits little
        nats_server.resume()
        # Then the task is done in the same attempt
        events = await publisher.until("t1", State.COMPLETED)
    assert {event.attempt for event in events} == {1}


async def test_events_of_a_recreated_stream_are_shown(
    publisher: Publisher, worker: Worker, js: JetStreamContext, redis: Redis
) -> None:
    # Given tasks whose events are projected to Redis
    for task_id in ("t1", "t2", "t3"):
        await publisher.reaching(State.COMPLETED, task_id)
        await eventually(partial(is_shown_completed, redis, task_id))
    # When a client deletes the stream, and the id is used again in the one that the service creates
    await js.delete_stream("transcription_progress")
    await eventually(partial(has_consumer, js, "transcription_progress"))
    await publisher.publish("t3", kind=Kind.DIARIZATION)
    # Then the keys are those of the new task
    await eventually(partial(is_of_kind, redis, "t3", "diarization"))


async def has_consumer(js: JetStreamContext, stream: str) -> bool:
    try:
        return bool(await js.consumers_info(stream))
    except NotFoundError:
        return False


async def is_of_kind(redis: Redis, task_id: str, kind: str) -> bool:
    return bool(json.loads(await redis.get(f"task:{task_id}:info") or "")["kind"] == kind)


async def test_a_request_gets_a_reply_while_jetstream_does_not_reply(
    publisher: Publisher, worker: Worker, monkeypatch: pytest.MonkeyPatch, constants: Constants
) -> None:
    # Given a worker whose JetStream does not reply
    async def nobody(*_: object) -> None:
        raise nats.errors.NoRespondersError

    constants(READ_WITHIN_S=0.2)
    monkeypatch.setattr(leader_reads, "last_message", nobody)
    # When a client requests the status of a task
    reply = await publisher.request("tasks.status", task_id="t1")
    # Then there is a reply, in time
    assert reply["error"]["code"] == "internal"
    assert "try again in a moment" in reply["error"]["message"]


async def heard_behind(publisher: Publisher, sequence: int) -> bool:
    """Whether the task has another event."""
    last = await publisher.js.get_last_msg("transcription_progress", "progress.t1")
    return bool(parsed(last)["sequence"] > sequence)


async def test_an_outage_costs_no_attempt(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, nats_server: NatsServer
) -> None:
    # Given two workers, one of which is in the middle of a task
    engines = [FakeEngine(), FakeEngine()]
    for engine in engines:
        engine.may_go_on.clear()
    async with start_worker(engines[0]), start_worker(engines[1]):
        before = await publisher.reaching(State.RUNNING, "t1")
        await eventually(lambda: any(engine.jobs for engine in engines))
        # When NATS is unavailable for longer than the queue waits for a heartbeat
        await nats_server.kill()
        await asyncio.sleep(OUTAGE_S)
        await nats_server.start()
        await eventually(partial(heard_behind, publisher, before[-1].sequence))
        for engine in engines:
            engine.may_go_on.set()
        # Then the task is left to its worker, in its first attempt
        events = await publisher.until("t1", State.COMPLETED)
        assert {event.attempt for event in events} == {1}
        assert sum(len(engine.jobs) for engine in engines) == 1


async def test_a_worker_that_starts_in_an_outage_costs_no_attempt(
    publisher: Publisher, start_worker: StartWorker, constants: Constants, nats_server: NatsServer
) -> None:
    # Given a worker in the middle of a task, which reconnects seconds later than a new worker connects
    constants(RECONNECTED_WITHIN_S=2 * LATE_S)
    engine, other = FakeEngine(), FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine) as worker:
        (await worker.broker.connect()).options["reconnect_time_wait"] = LATE_S
        before = await publisher.reaching(State.RUNNING, "t1")
        done = asyncio.Event()

        async def another_works() -> None:
            async with start_worker(other):
                await done.wait()

        # When NATS is unavailable for long, and another worker starts meanwhile
        await nats_server.kill()
        working = asyncio.create_task(another_works())
        try:
            await asyncio.sleep(OUTAGE_S)
            await nats_server.start()
            await eventually(partial(heard_behind, publisher, before[-1].sequence))
            engine.may_go_on.set()
            # Then the task is left to the first one, in its first attempt
            events = await publisher.until("t1", State.COMPLETED)
        finally:
            done.set()
            await working
        assert {event.attempt for event in events} == {1}
        assert not other.jobs


async def test_a_task_whose_announcement_was_lost_is_registered(
    publisher: Publisher, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a busy worker that receives no announcements
    async def lose(*_: object, **__: object) -> None:
        """Do nothing, as if the connection had been lost."""

    monkeypatch.setattr(Registration, "announce", lose)
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.reaching(State.RUNNING, "busy")
        # When a task is published, then it is registered, though the worker is busy
        await publisher.reaching(State.QUEUED, "t1")
        engine.may_go_on.set()
        await publisher.until("t1", State.COMPLETED)


async def _is_stopped(server: NatsServer) -> bool:
    """Whether all threads are stopped: the signal takes a moment to reach each of them."""
    threads = Path(f"/proc/{server.pid}/task").iterdir()
    return all("State:\tT" in (thread / "status").read_text() for thread in threads)
