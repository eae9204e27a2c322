"""A stream or consumer of the service that a client changes: refused, or noticed and put back; no task is lost."""

import asyncio
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    ConsumerConfig,
    DeliverPolicy,
    ObjectStoreConfig,
    RetentionPolicy,
    StreamConfig,
    StreamSource,
)
from nats.js.errors import APIError, NotFoundError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from structlog.testing import capture_logs

from app.fleet.stream_guard import guard, provisioning
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream import streams
from tests.constants import Constants
from tests.declarers import CONSUMERS, LOGS, SUBJECTS, faststream_consumer, node_program, stripped
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.integration.stream_guard.conftest import has_no_problem, is_healthy, reported_problems
from tests.waiting import eventually

OPERATORS_AGE_S = 400 * 24 * 3600.0  # longer than a scheduled task can wait


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"audio_store": "nats://audio"})


async def configs(js: JetStreamContext) -> dict[str, StreamConfig]:
    return {name: (await js.stream_info(name)).config for name in SUBJECTS}


async def stored_results(js: JetStreamContext) -> dict[str, int]:
    """How many messages the stream of results has on each subject."""
    return (await js.stream_info("transcription_results", subjects_filter=">")).state.subjects or {}


def logged(logs: list[Any], event: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == event]


# The requests of a client of each kind that knows a stream by its name alone


@pytest.mark.filterwarnings("ignore:The JetStream Push consumer:RuntimeWarning")
@pytest.mark.parametrize("options", CONSUMERS.values(), ids=CONSUMERS.keys())
@pytest.mark.parametrize("stream", LOGS)
async def test_a_faststream_consumer_that_declares_a_stream_changes_nothing(
    worker: Worker, settings: Settings, js: JetStreamContext, stream: str, options: dict[str, Any]
) -> None:
    # Given a running service
    before = await configs(js)
    # When an application names a stream as FastStream's guide shows
    async with faststream_consumer(settings.nats_url, stream, **options) as refused:
        # Then its start ends with the error of NATS, which docs/faststream.md explains
        assert "stream configuration update can not cancel deny" in str(refused)
    # And all streams are as before
    assert await configs(js) == before


@pytest.mark.parametrize("stream", SUBJECTS)
async def test_a_client_that_updates_a_stream_changes_nothing(
    worker: Worker, js: JetStreamContext, stranger: JetStreamContext, stream: str
) -> None:
    # Given a running service
    before = await configs(js)
    # When a client declares a stream with the settings that it knows, as nats-py and nats.js send it
    for retention in (RetentionPolicy.LIMITS, RetentionPolicy.WORK_QUEUE):
        config = StreamConfig(name=stream, subjects=[SUBJECTS[stream]], retention=retention)
        for declare in (stranger.add_stream, stranger.update_stream):
            # Then NATS refuses it, and nothing is changed
            with pytest.raises(APIError):
                await declare(config)
    if stream == "OBJ_audio":
        with pytest.raises(APIError):
            await stranger.create_object_store("audio", config=ObjectStoreConfig(ttl=5))
    assert await configs(js) == before


@pytest.mark.node
async def test_what_a_node_program_declares_is_put_back(
    worker: Worker, settings: Settings, js: JetStreamContext
) -> None:
    # Given a running service
    before = await configs(js)
    # When a program of nats.js adds and updates each stream; its update keeps the settings that it does not name
    lines = (await node_program(settings.nats_url, json.dumps(SUBJECTS))).splitlines()
    assert len(lines) == 2 * len(SUBJECTS)
    # Then what NATS has not refused is put back in time
    await eventually(partial(is_healthy, js, settings))
    assert await configs(js) == before


async def test_tasks_outlive_consumers_that_start_in_the_middle(
    publisher: Publisher, recording: None, settings: Settings, js: JetStreamContext
) -> None:
    # Given twenty tasks
    ids = [f"t{number}" for number in range(20)]
    for task_id in ids:
        await publisher.publish(task_id)
    await publisher.until("t3", State.RUNNING)
    # When applications declare each stream of events
    for stream in LOGS:
        async with faststream_consumer(settings.nats_url, stream) as refused:
            assert refused is not None
    # Then each task is done at its first attempt, and its result is there
    for task_id in ids:
        events = await publisher.until(task_id, State.COMPLETED)
        assert {event.attempt for event in events} <= {0, 1}
    assert await stored_results(js) == {f"results.{task_id}": 1 for task_id in ids}


@pytest.fixture
async def recording(worker: Worker, js: JetStreamContext) -> None:
    """The recording that all tasks name."""
    await (await js.object_store("audio")).put("meeting.flac", b"audio")


@pytest.mark.parametrize("stream", SUBJECTS)
async def test_a_stream_that_somebody_strips_is_put_back_in_time(
    worker: Worker, settings: Settings, js: JetStreamContext, stranger: JetStreamContext, stream: str
) -> None:
    # Given a running service
    with capture_logs() as logs:
        # When a client removes the settings of a stream that can be removed
        await stripped(stranger, stream)
        # Then the service puts them back, in time
        await eventually(partial(is_healthy, js, settings))
        await eventually(lambda: asyncio.sleep(0, logged(logs, "settings_restored")))
    # And one line says so
    (line,) = logged(logs, "settings_restored")
    assert line["of"] == stream


async def test_a_change_is_noticed_without_an_advisory(
    worker: Worker, settings: Settings, js: JetStreamContext, constants: Constants
) -> None:
    # Given an interval that the contract promises, here a shorter one
    contract = (Path(__file__).parents[3] / "docs/contract.md").read_text(encoding="utf-8")
    assert f"noticed within {guard.GUARD_EVERY_S:.0f} s if NATS loses the advisory" in contract
    constants(GUARD_EVERY_S=0.5)
    # And a client whose changes are not reported, since it has the name of the workers
    async with await nats.connect(settings.nats_url, name="natscribe") as connection:
        # When a client strips a stream
        await stripped(connection.jetstream(), "transcription_results")
        # Then a check at intervals finds it
        await eventually(partial(is_healthy, js, settings))


async def test_tasks_outlive_streams_that_are_stripped_in_the_middle(
    publisher: Publisher,
    start_worker: StartWorker,
    settings: Settings,
    js: JetStreamContext,
    stranger: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given two workers that try no task again, and twenty tasks
    monkeypatch.setattr(settings, "task_max_retries", 0)
    async with start_worker(FakeEngine()), start_worker(FakeEngine()):
        await (await js.object_store("audio")).put("meeting.flac", b"audio")
        ids = [f"t{number}" for number in range(20)]
        for task_id in ids:
            await publisher.publish(task_id)
        # When a client strips all streams again and again
        for number in range(0, 20, 4):
            await publisher.until(f"t{number}", State.RUNNING)
            for stream in SUBJECTS:
                await stripped(stranger, stream)
        # Then each task is done at its first attempt, and has one result
        for task_id in ids:
            await eventually(partial(publisher.is_completed, task_id))
            assert {event.attempt for event in await publisher.until(task_id, State.COMPLETED)} <= {0, 1}
        await eventually(partial(_has_one_result_of_each, js, ids))
        # And the streams are whole
        await eventually(partial(is_healthy, js, settings))


async def _has_one_result_of_each(js: JetStreamContext, ids: list[str]) -> bool:
    return await stored_results(js) == {f"results.{task_id}": 1 for task_id in ids}


async def test_streams_that_a_consumer_has_declared_before_the_first_start_are_put_right(
    settings: Settings, js: JetStreamContext, start_worker: StartWorker, publisher: Publisher
) -> None:
    # Given an empty server, on which a FastStream consumer has declared the streams of events
    for stream in LOGS:
        async with faststream_consumer(settings.nats_url, stream, durable="theirs", pull_sub=True) as refused:
            assert refused is None
    # When the service starts, then it works
    async with start_worker(FakeEngine()):
        assert await is_healthy(js, settings)
        await (await js.object_store("audio")).put("meeting.flac", b"audio")
        await publisher.reaching(State.COMPLETED, "t1")
    assert await stored_results(js) == {"results.t1": 1}


async def test_streams_of_the_version_before_are_protected_at_the_start(
    settings: Settings, js: JetStreamContext, stranger: JetStreamContext, start_worker: StartWorker
) -> None:
    # Given streams without the settings that cannot be undone, and an operator's limit of each that has one
    limited = {config.name for config in streams.all_stream_configs(settings) if config.max_age}
    for config in streams.all_stream_configs(settings):
        age = OPERATORS_AGE_S if config.name in limited else None
        await js.add_stream(config.evolve(deny_delete=False, deny_purge=False, max_age=age))
    # When the service starts
    async with start_worker(FakeEngine()):
        # Then no client can change them, and the operator's limit stays
        for stream in LOGS:
            with pytest.raises(APIError, match="can not cancel deny"):
                await stranger.update_stream(StreamConfig(name=stream, subjects=[SUBJECTS[stream]]))
    assert {config.max_age for name, config in (await configs(js)).items() if name in limited} == {OPERATORS_AGE_S}


async def test_a_task_whose_queue_was_deleted_goes_on_when_it_is_published_again(
    publisher: Publisher, start_worker: StartWorker, js: JetStreamContext
) -> None:
    # Given a worker with a task, another task that waits, and a task stream that a client deletes
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine):
        await (await js.object_store("audio")).put("meeting.flac", b"audio")
        for task_id in ("t1", "t2"):
            await publisher.publish(task_id)
        await publisher.until("t1", State.RUNNING)
        await publisher.until("t2", State.QUEUED)
        await js.delete_stream("transcription_tasks")
        await eventually(partial(exists, js, "transcription_tasks"))
        engine.may_go_on.set()
        await publisher.until("t1", State.COMPLETED)
        # When the publisher of the waiting task publishes it again
        await publisher.publish("t2")
        # Then it is done, and once
        await publisher.until("t2", State.COMPLETED)
        # And what is published once more changes nothing
        for task_id in ("t1", "t2"):
            await publisher.publish(task_id)
        await eventually(lambda: queue_is_empty(js))
    assert await stored_results(js) == {"results.t1": 1, "results.t2": 1}


async def exists(js: JetStreamContext, stream: str) -> bool:
    with suppress(NotFoundError):
        return bool(await js.stream_info(stream))
    return False


async def stray(js: JetStreamContext, stream: str, subject: str) -> int:
    """Publish a message as the service does while a stream has no subject transform."""
    headers = {"Nats-Expected-Last-Subject-Sequence": "0", "ce-id": subject, "Nats-Msg-Id": subject}
    if "dead_letters" in subject:
        del headers["Nats-Expected-Last-Subject-Sequence"]
    return (await js.publish(subject, b"{}", stream=stream, headers=headers)).seq


@pytest.mark.foreign
@pytest.mark.parametrize(
    ("stream", "stored"),
    [
        ("transcription_progress", "progress.t1"),
        ("transcription_results", "results.t1"),
        ("transcription_dead_letters", "dead_letters.transcription"),
    ],
)
async def test_what_a_stripped_stream_has_acknowledged_is_stored_once_where_it_belongs(
    settings: Settings, js: JetStreamContext, stranger: JetStreamContext, stream: str, stored: str
) -> None:
    # Given a stripped stream that has acknowledged a message
    await provisioning.provision(js, settings)
    await stripped(stranger, stream)
    await stray(js, stream, f"append.{stored}")
    # When several workers put the stream back
    await asyncio.gather(*(provisioning.provision(js, settings) for _ in range(3)))
    # Then the message is where it belongs, once
    assert (await js.stream_info(stream, subjects_filter=">")).state.subjects == {stored: 1}


@pytest.mark.foreign
async def test_a_stray_that_comes_during_the_search_is_not_removed(
    settings: Settings, js: JetStreamContext, stranger: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stray, and a stream that is stripped again, and has another stray, before the first one is removed
    await provisioning.provision(js, settings)
    await stripped(stranger, "transcription_results")
    await stray(js, "transcription_results", "append.results.t1")
    purge = js.purge_stream

    async def after_another(*arguments: Any, **options: Any) -> bool:
        monkeypatch.setattr(js, "purge_stream", purge)  # once
        await stripped(stranger, "transcription_results")
        await stray(js, "transcription_results", "append.results.t2")
        return await purge(*arguments, **options)

    monkeypatch.setattr(js, "purge_stream", after_another)
    await provisioning.provision(js, settings)
    # When the streams are provisioned again
    await provisioning.provision(js, settings)
    # Then both are where they belong
    assert await stored_results(js) == {"results.t1": 1, "results.t2": 1}


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        ("transcription_segments", {"max_msg_size": 1}),
        ("transcription_progress", {"max_bytes": 1000}),
        ("transcription_progress", {"max_age": 0.2, "duplicate_window": 0.2}),
        ("transcription_progress", {"max_msgs_per_subject": 1}),
        ("transcription_results", {"sources": [StreamSource(name="transcription_segments")]}),
        ("transcription_tasks", {"max_age": 3600}),
        ("OBJ_results", {"max_msg_size": 10}),
    ],
)
async def test_a_limit_that_breaks_a_promise_is_put_back(
    worker: Worker,
    settings: Settings,
    js: JetStreamContext,
    stranger: JetStreamContext,
    stream: str,
    change: dict[str, Any],
) -> None:
    # Given a running service
    before = await configs(js)
    # When a client limits what a stream stores or accepts, or adds a source to it
    await stranger.update_stream(before[stream].evolve(**change))
    # Then that is put back in time
    await eventually(partial(is_healthy, js, settings))
    assert await configs(js) == before


async def test_a_task_is_not_called_deleted_while_its_message_stays(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, js: JetStreamContext
) -> None:
    # Given a task that waits, and a client that forbids to delete messages of the task stream
    busy = FakeEngine()
    busy.may_go_on.clear()
    async with start_worker(busy) as worker:
        await (await js.object_store("audio")).put("meeting.flac", b"audio")
        for task_id in ("first", "t1"):
            await publisher.publish(task_id)
        await publisher.until("first", State.RUNNING)
        config = (await js.stream_info("transcription_tasks")).config
        await js.update_stream(config.evolve(deny_delete=True))
        # When the task is deleted, then the reply is an error
        reply = await publisher.request("tasks.delete", task_id="t1")
        assert reply["error"]["code"] == ErrorCode.INTERNAL
        # And the problem is reported
        assert "deny_delete" in (await eventually(partial(reported_problems, publisher.nc)))[0].what
        busy.may_go_on.set()
        await worker.container.slots.stop(grace=0)


# What NATS refuses to change is reported


async def test_a_setting_of_earlier_versions_is_no_such_stream(
    settings: Settings, js: JetStreamContext, stranger: JetStreamContext
) -> None:
    # Given streams of this version, on which a client has allowed atomic batches
    await provisioning.provision(js, settings)
    for stream, config in (await configs(js)).items():
        await stranger.update_stream(config.evolve(allow_atomic=True))
        await stripped(stranger, stream)
    # When the service starts, then it does not speak of an earlier version, and puts back what it needs
    assert await provisioning.provision(js, settings) == {}
    assert await is_healthy(js, settings)


async def test_a_task_stream_of_another_kind_is_reported_with_the_next_step(
    settings: Settings, nc: Client, js: JetStreamContext, start_worker: StartWorker
) -> None:
    # Given a task stream that a FastStream publisher has declared before the first start
    await js.add_stream(name="transcription_tasks", subjects=["tasks.>"])
    with capture_logs() as logs:
        async with start_worker(FakeEngine()) as worker:
            # Then readiness, doctor, log and metrics report it
            (problem,) = await eventually(partial(reported_problems, nc))
            assert problem.what.startswith("The stream transcription_tasks is not as the service needs it (")
            assert "retention" in problem.what
            assert "nats stream rm transcription_tasks" in problem.next_step
            assert not worker.container.stream_guard.are_streams_whole
            assert b"natscribe_streams_broken 1.0" in worker.container.meter.exposition()
            assert logged(logs, "settings_not_restored")
            # When the operator follows this advice
            await js.delete_stream("transcription_tasks")
            # Then the service recreates it, and is ready
            await eventually(partial(is_healthy, js, settings))
            await eventually(lambda: has_no_problem(nc))
            assert b"natscribe_streams_broken 0.0" in worker.container.meter.exposition()


async def test_a_consumer_of_another_kind_is_reported_with_the_next_step(
    settings: Settings, nc: Client, js: JetStreamContext, start_worker: StartWorker
) -> None:
    # Given a consumer of the service that was created with another start, which NATS cannot change
    await provisioning.provision(js, settings)
    stream, name = "transcription_results", "transcription_worker_projection_results"
    await js.delete_consumer(stream, name)
    await js.add_consumer(stream, ConsumerConfig(durable_name=name, deliver_policy=DeliverPolicy.NEW))
    # When the service starts, then its error says what to do
    async with start_worker(FakeEngine()):
        (problem,) = await eventually(partial(reported_problems, nc))
        assert problem.what.startswith(f"The consumer {name} is not as the service needs it (")
        assert f"nats consumer rm {stream} {name}" in problem.next_step
        # And when the operator does so, there is no problem
        await js.delete_consumer(stream, name)
        await eventually(lambda: has_no_problem(nc))
        assert await is_healthy(js, settings)


async def test_a_consumer_that_somebody_edits_is_put_back(
    worker: Worker, settings: Settings, js: JetStreamContext, stranger: JetStreamContext
) -> None:
    # Given a consumer, when somebody limits how often tasks may be delivered
    stream, name = "transcription_ready", "transcription_worker_ready_recordings"
    config = (await js.consumer_info(stream, name)).config
    with capture_logs() as logs:
        await stranger.add_consumer(stream, config.evolve(max_deliver=1, ack_wait=99))
        # Then the limit goes again, and what an operator may choose stays
        await eventually(partial(is_healthy, js, settings))
        await eventually(lambda: asyncio.sleep(0, logged(logs, "settings_restored")))
    (line,) = logged(logs, "settings_restored")
    assert (line["of"], line["settings"]) == (name, ["max_deliver"])
    assert (await js.consumer_info(stream, name)).config.ack_wait == 99


async def test_a_paused_consumer_is_reported_until_it_is_resumed(
    worker: Worker,
    settings: Settings,
    nc: Client,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
    constants: Constants,
) -> None:
    # Given a consumer that an operator pauses
    constants(GUARD_EVERY_S=0.3)
    tries = AsyncMock(wraps=provisioning.provision)
    monkeypatch.setattr(provisioning, "provision", tries)
    stream, name = "transcription_ready", "transcription_worker_ready_recordings"
    until = datetime.now(UTC) + timedelta(hours=1)
    await js.pause_consumer(stream, name, until.isoformat())
    # Then it is reported, and not changed
    (problem,) = await eventually(partial(reported_problems, nc))
    assert f"nats consumer resume {stream} {name}" in problem.next_step
    assert worker.container.stream_guard.are_streams_whole
    await asyncio.sleep(1)  # two more checks, at least
    assert tries.await_count == 1
    # When it is resumed, then all is well
    await js.resume_consumer(stream, name)
    await eventually(lambda: has_no_problem(nc))
    assert worker.container.stream_guard.are_streams_whole
