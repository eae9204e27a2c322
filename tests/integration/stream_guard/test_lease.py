"""One worker at a time takes care of the streams: another one takes over when it stops, dies or freezes."""

import asyncio
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from structlog.testing import capture_logs

from app.fleet.stream_guard import guard, provisioning
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream import lease
from app.storage.jetstream.lease import LeaseRecord
from tests.constants import Constants
from tests.declarers import stripped
from tests.fakes.engine import FakeEngine
from tests.fakes.worker import STARTED
from tests.integration.conftest import StartWorker
from tests.integration.stream_guard.conftest import has_no_problem, is_healthy, reported_problems
from tests.programs import line_with, started
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
TAKEN_OVER_WITHIN_S = 10.0  # a busy machine may need longer
RESTORED_WITHIN_S = 2.0
BUCKET, KEY = "KV_fleet", "$KV.fleet.transcription"
Break = Callable[[JetStreamContext], Awaitable[object]]


@asynccontextmanager
async def worker_process(settings: Settings) -> AsyncIterator[Callable[[signal.Signals], None]]:
    """A worker in its own process; yields what sends signals to it."""
    environment = [f"REDIS_URL={settings.redis_url}", f"AUDIO_STORE={settings.audio_store}"]
    command = ["env", *environment, sys.executable, "-m", "tests.fakes.worker"]
    async with started(settings.nats_url, *command, cwd=ROOT) as process:
        await line_with(process, STARTED)
        yield process.send_signal
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)


async def record(js: JetStreamContext) -> LeaseRecord:
    """The last record of the lease."""
    return LeaseRecord.model_validate_json((await js.get_last_msg(BUCKET, KEY)).data or b"")


class Requests:
    """The JetStream API requests of all clients, by connection: nats-py has one inbox for the replies to each."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []  # action and name; connection

    @classmethod
    async def watched(cls, nc: Client) -> "Requests":
        watched = cls()
        await nc.subscribe("$JS.API.>", cb=watched._note)
        await nc.flush()
        return watched

    async def _note(self, message: Msg) -> None:
        self.seen.append((message.subject.removeprefix("$JS.API."), message.reply.rpartition(".")[0]))

    def about(self, *actions: str) -> list[str]:
        return [request for request, _ in self.seen if request.startswith(actions)]

    def connections(self, *actions: str) -> set[str]:
        return {connection for request, connection in self.seen if request.startswith(actions)}


async def test_a_worker_that_stops_hands_the_lease_over_at_once(
    start_worker: StartWorker, js: JetStreamContext
) -> None:
    async with AsyncExitStack() as first_life:
        # Given two workers, the first of which holds the lease
        first = await first_life.enter_async_context(start_worker(FakeEngine()))
        await eventually(lambda: first.container.lease.held)
        before = await record(js)
        async with start_worker(FakeEngine()) as second:
            assert (before.holder, second.container.lease.held) == (first.container.worker_name, False)
            # When the first one stops
            await first_life.aclose()
            # Then the other one takes the lease before it would be lost
            await eventually(lambda: second.container.lease.held, within=lease.LOST_AFTER_S - lease.RENEW_EVERY_S)
            # And its token is larger
            assert (await record(js)).token > before.token
    # And after both have stopped, no worker holds the lease
    assert (await record(js)).holder is None


async def test_only_the_holder_reads_the_state_of_streams_and_restores_them(
    start_worker: StartWorker, nc: Client, js: JetStreamContext, constants: Constants
) -> None:
    # Given three idle workers
    constants(GUARD_EVERY_S=0.3, MEASURE_EVERY_S=0.3)
    with capture_logs() as logs:
        async with start_worker(FakeEngine()), start_worker(FakeEngine()), start_worker(FakeEngine()):
            await eventually(partial(has_holder, js))
            requests = await Requests.watched(nc)
            # When the state of streams and consumers was read many times
            await eventually(lambda: len(requests.about("STREAM.INFO", "CONSUMER.INFO")) > 200)
            # Then one of them has sent all of these requests
            assert len(requests.connections("STREAM.INFO", "CONSUMER.INFO")) == 1
            # And when a client changes a stream, then one of them restores it
            await strip(js)
            await eventually(lambda: any(line["event"] == "settings_restored" for line in logs))
    assert len([line for line in logs if line["event"] == "settings_restored"]) == 1


async def has_holder(js: JetStreamContext) -> bool:
    return (await record(js)).report is not None


async def delete(js: JetStreamContext) -> None:
    await js.delete_stream("transcription_results")


async def strip(js: JetStreamContext) -> None:
    await stripped(js, "transcription_results")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("change", [delete, strip])
async def test_a_stream_that_is_changed_while_its_guard_is_gone_is_restored_by_another_worker(
    settings: Settings,
    start_worker: StartWorker,
    nc: Client,
    js: JetStreamContext,
    stranger: JetStreamContext,
    end: signal.Signals,
    change: Break,
) -> None:
    async with worker_process(settings) as send_signal, start_worker(FakeEngine()) as worker:
        await eventually(lambda: worker.container.stream_guard.are_streams_whole)
        assert not worker.container.lease.held
        # Given a holder of the lease that is killed or frozen
        send_signal(end)
        # When a client changes a stream
        await change(stranger)
        # Then the other worker takes over and restores it in time
        await eventually(partial(is_healthy, js, settings))
        await eventually(lambda: worker.container.stream_guard.are_streams_whole)
        # And when the former holder wakes up and sees another change, then it does nothing
        if end is signal.SIGSTOP:
            send_signal(signal.SIGCONT)
        requests = await Requests.watched(nc)
        await change(stranger)
        await eventually(partial(is_healthy, js, settings))
        await eventually(partial(has_no_problem, nc))
        changes = Counter(requests.about("STREAM.CREATE", "STREAM.UPDATE"))
        changed_by_stranger = 1 if change is strip else 0
        assert changes.total() == changed_by_stranger + 1
        assert worker.container.lease.held


async def test_workers_stay_ready_while_no_worker_holds_the_lease(
    settings: Settings, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that takes a free lease a second later, and the holder of the lease
    monkeypatch.setattr(random, "uniform", lambda *_: 1.0)
    async with worker_process(settings) as send_signal, start_worker(FakeEngine()) as worker:
        stream_guard, checks = worker.container.stream_guard, list[bool]()

        def has_no_holder() -> bool:
            checks.append(stream_guard.are_streams_whole)
            return [problem.what for problem in stream_guard.problems] == [guard.NO_HOLDER]

        def has_taken_over() -> bool:
            checks.append(stream_guard.are_streams_whole)
            return worker.container.lease.held and stream_guard.problems == []

        await eventually(lambda: stream_guard.are_streams_whole)
        # When the holder is killed, then the others report that no worker checks the streams
        send_signal(signal.SIGKILL)
        await eventually(has_no_holder)
        # And when another worker has the lease, then the problem is gone
        await eventually(has_taken_over)
        # And they were ready all the time
        assert all(checks)


async def test_the_holder_reports_to_all_workers(start_worker: StartWorker, js: JetStreamContext, nc: Client) -> None:
    async with start_worker(FakeEngine()) as holder, start_worker(FakeEngine()) as other:
        await eventually(lambda: holder.container.lease.held)
        # When an operator pauses a consumer
        name = "transcription_worker_ready_live"
        await js.pause_consumer("transcription_ready", name, "2100-01-01T00:00:00Z")
        # Then each worker reports it, and stays ready
        for worker in (holder, other):
            await eventually(partial(reports, worker, name))
            assert worker.container.stream_guard.are_streams_whole


async def reports(worker: Worker, name: str) -> bool:
    return name in str(worker.container.stream_guard.problems)


async def test_workers_that_start_together_create_each_stream_once(
    start_worker: StartWorker, nc: Client, js: JetStreamContext, settings: Settings
) -> None:
    # Given an empty server
    requests = await Requests.watched(nc)
    # When eight workers start at once
    async with AsyncExitStack() as lives:
        await asyncio.gather(*(lives.enter_async_context(start_worker(FakeEngine())) for _ in range(8)))
        # Then one of them has created each stream and consumer, and none was changed
        created = Counter(requests.about("STREAM.CREATE", "CONSUMER.DURABLE.CREATE"))
        del created[f"STREAM.CREATE.{BUCKET}"]  # all of them need it to find out who holds the lease
        assert set(created.values()) == {1}
        assert requests.about("STREAM.UPDATE", "STREAM.DELETE", "CONSUMER.DELETE") == []
        assert await is_healthy(js, settings)


async def test_a_worker_of_another_version_changes_no_stream_until_it_holds_the_lease(
    settings: Settings, start_worker: StartWorker, nc: Client, js: JetStreamContext, constants: Constants
) -> None:
    async with worker_process(settings) as send_signal:
        before = (await js.stream_info("transcription_tasks")).config
        # Given a worker of another version, which needs another setting
        constants(DUPLICATE_WINDOW_S=240.0)
        requests = await Requests.watched(nc)
        with capture_logs() as logs:
            async with start_worker(FakeEngine()) as worker:
                # Then it logs the difference, and changes nothing
                differences = [line for line in logs if line["event"] == "configuration_difference_found"]
                assert ("transcription_tasks", "duplicate_window") in {
                    (line["of"], line["setting"]) for line in differences
                }
                assert requests.about("STREAM.UPDATE", "STREAM.CREATE", "CONSUMER.DURABLE") == []
                assert (await js.stream_info("transcription_tasks")).config == before
                # When it holds the lease, then it decides, and logs it
                send_signal(signal.SIGKILL)
                await eventually(lambda: worker.container.lease.held)
                await eventually(partial(is_healthy, js, settings))
        restored = {line["of"] for line in logs if line["event"] == "settings_restored"}
        assert "transcription_tasks" in restored


async def test_a_lease_that_nobody_can_take_is_reported_and_each_worker_creates_missing_streams(
    settings: Settings,
    start_worker: StartWorker,
    nc: Client,
    js: JetStreamContext,
    stranger: JetStreamContext,
    constants: Constants,
) -> None:
    # Given a bucket without room, and a missing stream
    constants(UNAVAILABLE_FOR_S=0.5, OUTAGE_PAUSE_S=0.1)
    await provisioning.provision(js, settings)
    config = (await js.stream_info(BUCKET)).config
    await js.update_stream(config.evolve(max_bytes=1))
    await delete(js)
    with capture_logs() as logs:
        # When a worker starts, then it creates the stream, is ready, and reports the lease
        async with start_worker(FakeEngine()) as worker:
            assert await is_healthy(js, settings)
            await eventually(lambda: worker.container.lease.unavailable is not None)
            assert "store the lease (the stream KV_fleet is full)" in (await reported_problems(nc))[0].what
            await eventually(lambda: worker.container.stream_guard.are_streams_whole)
            assert [line["bucket"] for line in logs if line["event"] == "lease_unavailable"] == ["fleet"]
            # And it has no metric, on whose absence an alert depends
            assert b"natscribe_streams_broken" not in samples(worker)
            # And when a stream is deleted, then it creates the stream again
            await delete(stranger)
            await eventually(partial(is_healthy, js, settings))
            # And when a stream is changed, then it only reports that
            await strip(stranger)
            await eventually(partial(reports, worker, guard.UNFENCED.format(names="transcription_results")))
            assert not await is_healthy(js, settings)
            # And when the bucket has room again, then the worker takes the lease and restores the stream
            await js.update_stream(config)
            await eventually(lambda: worker.container.lease.held)
            await eventually(partial(is_healthy, js, settings))
            await eventually(partial(has_no_problem, nc))
            assert b"natscribe_streams_broken" in samples(worker)


def samples(worker: Worker) -> bytes:
    """The metrics of a worker without their descriptions."""
    return b"\n".join(line for line in worker.container.meter.exposition().splitlines() if not line.startswith(b"#"))


async def test_a_deleted_bucket_is_created_again(
    start_worker: StartWorker, js: JetStreamContext, settings: Settings, stranger: JetStreamContext
) -> None:
    async with start_worker(FakeEngine()) as worker, start_worker(FakeEngine()) as other:
        await eventually(lambda: worker.container.stream_guard.are_streams_whole)
        # When a client deletes the bucket of the lease, or recreates it otherwise
        await stranger.delete_stream(BUCKET)
        await stranger.add_stream(StreamConfig(name=BUCKET, subjects=["$KV.fleet.>"]))
        # Then it is restored, and one worker holds the lease
        await eventually(partial(is_healthy, js, settings))
        await eventually(lambda: worker.container.lease.held != other.container.lease.held)


def test_a_lease_is_lost_within_ten_seconds() -> None:
    assert lease.LOST_AFTER_S + lease.MAX_JITTER_S + RESTORED_WITHIN_S < TAKEN_OVER_WITHIN_S
