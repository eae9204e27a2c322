"""How the service creates its streams, restores what clients change, and appends strays again."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from time import monotonic
from unittest.mock import AsyncMock

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError
from natscribe.schemas.workers import Problem
from structlog.testing import capture_logs

from app.fleet.stream_guard.guard import CREATED_WITHIN_S, changed_resource
from app.fleet.stream_guard.provisioning import (
    StreamError,
    inspect_streams,
    is_refusal,
    provision,
    recreate_projection_consumers,
)
from app.fleet.stream_guard.strays import append_strays
from app.runtime.cancellation import cancel_all
from app.settings import Settings
from app.storage.jetstream import lease
from app.storage.jetstream.connection import StartError, TooFewServersError, retry_until_available
from app.storage.jetstream.lease import Lease
from app.storage.jetstream.slots import SlotPool
from app.storage.jetstream.streams import stream_configs
from app.tasks.projection.projection import RedisProjection
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata
from tests.constants import Constants
from tests.fakes.messages import event
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, SETTINGS, Parts
from tests.publishers import publishers
from tests.waiting import eventually

QUEUE = NAMES.slot_consumer(SlotPool.RECORDINGS)
STREAMS = {str(config.name): config for config in stream_configs(SETTINGS)}
UPDATE = f"$JS.API.STREAM.UPDATE.{NAMES.progress}"
REFUSED = APIError(code=500, err_code=10052, description="deny purge cannot be taken back")
METADATA = Metadata(None, 3, "tasks.transcription.high", datetime.now(UTC))


async def test_missing_streams_and_consumers_are_created_once() -> None:
    # Given an empty server
    nats = InMemoryNats()
    assert len((await inspect_streams(nats.jetstream(), SETTINGS)).missing) == 22
    # When everything is provisioned twice
    for number in (22, 0):
        nats.requests.clear()
        assert await provision(nats.jetstream(), SETTINGS) == {}
        # Then the first provisioning creates everything, and the second nothing
        assert len([request for request in nats.requests if "CREATE" in request]) == number
    assert (await inspect_streams(nats.jetstream(), SETTINGS)).is_healthy


@pytest.mark.parametrize(("existing", "used"), [(5.0, 5.0), (60.0, SETTINGS.task_ack_wait)])
async def test_the_shortest_ack_wait_of_a_queue_counts(nats: InMemoryNats, existing: float, used: float) -> None:
    # Given consumers of an earlier setting: one of a queue, and one of the projection
    nats.streams[NAMES.ready].consumers[QUEUE].config["ack_wait"] = int(existing * 1e9)
    nats.streams[NAMES.progress].consumers[NAMES.progress_projection].config["ack_wait"] = int(1e9)
    assert (await inspect_streams(nats.jetstream(), SETTINGS)).ack_wait == used


async def test_a_needed_setting_is_restored_and_a_choice_stays(nats: InMemoryNats) -> None:
    # Given a stream and a consumer that a client has changed
    nats.streams[NAMES.progress].config |= {"allow_direct": False, "max_age": int(9 * 24 * 3600 * 1e9)}
    nats.streams[NAMES.ready].consumers[QUEUE].config |= {"max_deliver": 3, "ack_wait": int(60e9)}
    before = await inspect_streams(nats.jetstream(), SETTINGS)
    assert (before.broken, before.is_healthy) == ({NAMES.progress, QUEUE}, False)
    # When everything is provisioned
    with capture_logs() as lines:
        await provision(nats.jetstream(), SETTINGS)
    # Then the needed settings are restored, and the chosen settings stay
    log, queue = nats.streams[NAMES.progress].config, nats.streams[NAMES.ready].consumers[QUEUE].config
    assert (log["allow_direct"], log["max_age"]) == (True, 9 * 24 * 3600 * 10**9)
    assert (queue["max_deliver"], queue["ack_wait"]) == (-1, 60 * 10**9)
    # And the log has both, and the settings that still differ
    restored = {line["of"]: line["settings"] for line in lines if line["event"] == "settings_restored"}
    assert restored == {NAMES.progress: ["allow_direct"], QUEUE: ["max_deliver"]}
    differing = [(line["of"], line["setting"]) for line in lines if line["event"] == "configuration_difference_found"]
    assert differing == [(NAMES.progress, "max_age"), (QUEUE, "ack_wait")]
    # And with them the streams are healthy
    assert (await inspect_streams(nats.jetstream(), SETTINGS)).is_healthy


async def test_other_replicas_are_logged_with_the_command_that_changes_them(nats: InMemoryNats) -> None:
    nats.streams[NAMES.progress].config["num_replicas"] = 3
    with capture_logs() as lines:
        await provision(nats.jetstream(), SETTINGS)
    (line,) = [line for line in lines if line["event"] == "configuration_difference_found"]
    assert line["change"] == f"nats stream edit {NAMES.progress} --replicas 1"
    # And for every stream and bucket where the setting is another, and nothing is changed
    with capture_logs() as lines:
        await provision(nats.jetstream(), SETTINGS.model_copy(update={"nats_replicas": 5}))
    changes = sorted(line["change"] for line in lines)
    assert changes == sorted(f"nats stream edit {name} --replicas 5" for name in nats.streams)
    assert nats.streams[NAMES.progress].config["num_replicas"] == 3


@pytest.mark.parametrize(
    ("code", "err_code", "refusal"),
    [(500, 10052, True), (400, 10052, True), (404, 10059, False), (503, 10008, False), (400, 10058, False)],
)
async def test_only_refusals_are_final(nats: InMemoryNats, code: int, err_code: int, refusal: bool) -> None:
    error = APIError(code=code, err_code=err_code, description="reason")
    assert is_refusal(error) is refusal
    assert is_refusal(APIError(code=code, err_code=0)) is False
    # Any other error is raised, so that the request is repeated
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, error)
    if refusal:
        ((stream, problem),) = (await provision(nats.jetstream(), SETTINGS)).items()
        assert stream == NAMES.progress
        assert "(allow_direct), and NATS refuses to change it: reason" in problem.what
    else:
        with pytest.raises(APIError):
            await provision(nats.jetstream(), SETTINGS)


async def test_a_stream_with_the_same_subjects_stops_the_start() -> None:
    # Given a stream of another service with the subjects of the tasks
    nats = InMemoryNats()
    await nats.jetstream().add_stream(name="other", subjects=["tasks.>"])
    # When everything is provisioned, then the error names the next step
    with pytest.raises(StreamError, match=r"refuses to create the stream .*_tasks .*overlap.*nats stream rm"):
        await provision(nats.jetstream(), SETTINGS)


@pytest.mark.parametrize(
    ("code", "err_code", "replicas", "error"),
    [
        (400, 10005, 3, TooFewServersError),
        (400, 10074, 3, TooFewServersError),
        (400, 10074, 1, StreamError),
        (400, 10052, 3, StreamError),
        (503, 10008, 1, APIError),  # an unavailable server refuses nothing
    ],
)
async def test_a_cluster_may_have_too_few_servers(
    code: int, err_code: int, replicas: int, error: type[Exception]
) -> None:
    nats = InMemoryNats()
    nats.before("$JS.API.STREAM.CREATE", APIError(code=code, err_code=err_code, description="no"))
    with pytest.raises(error):
        await provision(nats.jetstream(), Settings(_env_file=None, nats_replicas=replicas))


async def test_a_paused_consumer_is_a_problem_and_not_broken(nats: InMemoryNats) -> None:
    nats.streams[NAMES.ready].consumers[QUEUE].config["paused"] = True
    findings = await inspect_streams(nats.jetstream(), SETTINGS)
    assert (findings.broken, findings.is_healthy) == (set(), False)
    assert QUEUE in findings.paused[0].what


async def test_a_restarted_projection_delivers_from_the_start(nats: InMemoryNats) -> None:
    # Given one consumer of the projection that has delivered, and one that is missing
    nats.streams[NAMES.progress].consumers[NAMES.progress_projection].delivered = 7
    del nats.streams[NAMES.results].consumers[NAMES.results_projection]
    await recreate_projection_consumers(nats.jetstream(), SETTINGS)
    # Then both exist and deliver from the start; the others are unchanged
    assert nats.streams[NAMES.progress].consumers[NAMES.progress_projection].delivered == 0
    assert (await inspect_streams(nats.jetstream(), SETTINGS)).missing == []


async def store_strays(nats: InMemoryNats, *task_ids: str) -> None:
    """Store first records of logs while their stream has no transform."""
    stream = nats.streams[NAMES.progress]
    transform = stream.config.pop("subject_transform")
    for task_id in task_ids:
        headers = {"ce-id": f"of-{task_id}", "Nats-Expected-Last-Subject-Sequence": "0"} | METADATA.headers()
        body = event(task_id=task_id).model_dump_json().encode()
        stream.publish(f"append.progress.{task_id}", body, headers, nats.now)
    stream.config["subject_transform"] = transform


def subjects_of(nats: InMemoryNats) -> list[str]:
    return [message.subject for message in nats.streams[NAMES.progress].messages]


@pytest.mark.parametrize("deny_purge", [False, True])
async def test_strays_are_appended_again_in_their_order(nats: InMemoryNats, deny_purge: bool) -> None:
    # Given strays in a stream that can be purged or not
    ids = ["t1", "t2", "t3"]
    await store_strays(nats, *ids)
    config = STREAMS[NAMES.progress].evolve(deny_purge=deny_purge)
    if deny_purge:
        nats.streams[NAMES.progress].config["deny_delete"] = False
    # When they are appended again, then each is in its log once
    with capture_logs() as lines:
        await append_strays(nats.jetstream(), config)
    assert subjects_of(nats) == [f"progress.{task_id}" for task_id in ids]
    assert [line["count"] for line in lines if line["event"] == "strays_appended"] == [len(ids)]


async def test_a_stray_whose_log_another_writer_has_started_is_removed(nats: InMemoryNats) -> None:
    await store_strays(nats, "t1", "t2")
    await TaskLog(nats.client, publishers(nats.client), NAMES, "other").append(event(), METADATA, after=0)
    await append_strays(nats.jetstream(), STREAMS[NAMES.progress])
    assert subjects_of(nats) == ["progress.t1", "progress.t2"]


async def test_strays_stay_while_the_transform_is_missing(nats: InMemoryNats) -> None:
    # Given strays in a stream that loses its transform again
    await store_strays(nats, "t1", "t2")
    del nats.streams[NAMES.progress].config["subject_transform"]
    await append_strays(nats.jetstream(), STREAMS[NAMES.progress])
    # Then none is lost
    assert subjects_of(nats)[:2] == ["append.progress.t1", "append.progress.t2"]


async def test_a_refused_append_without_a_log_retains_the_stray(nats: InMemoryNats) -> None:
    await store_strays(nats, "t1")
    nats.before("append.progress.t1", BadRequestError(code=400, err_code=10071))
    await append_strays(nats.jetstream(), STREAMS[NAMES.progress])
    assert subjects_of(nats) == ["append.progress.t1"]


@pytest.mark.parametrize(("gone", "code"), [(True, 10057), (True, 10043), (False, 10057)])
async def test_a_stray_that_another_worker_removes_is_no_error(nats: InMemoryNats, gone: bool, code: int) -> None:
    # Given a stray whose removal is refused, because it is gone or for another reason
    await store_strays(nats, "t1")
    stream = nats.streams[NAMES.progress]

    def refuse() -> None:
        if gone:
            stream.remove(stream.of("append.>"))
        raise APIError(code=400, err_code=code)

    nats.before("$JS.API.STREAM.MSG.DELETE", refuse)
    config = STREAMS[NAMES.progress].evolve(deny_purge=True)
    # When it is appended again, then only a stray that remains is an error
    if gone:
        await append_strays(nats.jetstream(), config)
        assert subjects_of(nats) == ["progress.t1"]
    else:
        with pytest.raises(APIError):
            await append_strays(nats.jetstream(), config)


async def test_strays_of_a_missing_stream_are_an_error(nats: InMemoryNats) -> None:
    del nats.streams[NAMES.progress]
    with pytest.raises(NotFoundError):
        await append_strays(nats.jetstream(), STREAMS[NAMES.progress])


def advisory(subject: str) -> bytes:
    report = {"client": {"name": "reports"}, "subject": f"$JS.API.{subject}", "response": "{}"}
    return json.dumps(report, separators=(",", ":")).encode()


async def test_a_starting_worker_waits_for_the_holder_of_the_lease_to_create_streams(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that holds the lease, and a stream that is missing
    starting, waits = Parts(nats), list[float]()
    del nats.streams[NAMES.progress]

    async def create(_: Lease, seconds: float) -> None:
        waits.append(seconds)
        await provision(parts.nats.jetstream(), SETTINGS)
        nats.requests.clear()

    monkeypatch.setattr(Lease, "wait_for_change", create)
    # When another worker starts, then it waits for the holder, and creates nothing itself
    state, missing = await starting.stream_guard.start()
    assert waits == [pytest.approx(CREATED_WITHIN_S, abs=1)]
    assert (state.is_healthy, NAMES.progress in missing) == (True, True)
    assert [request for request in nats.requests if "CREATE" in request] == []


@pytest.mark.usefixtures("parts")
async def test_a_starting_worker_creates_the_streams_that_the_holder_of_the_lease_does_not_create(
    nats: InMemoryNats, constants: Constants
) -> None:
    constants(CREATED_WITHIN_S=0.01)
    del nats.streams[NAMES.progress]
    state, missing = await Parts(nats).stream_guard.start()
    assert (state.is_healthy, NAMES.progress in missing) == (True, True)


@pytest.fixture
async def guarded(parts: Parts, nats: InMemoryNats) -> AsyncIterator[None]:
    """A worker whose stream guard has checked everything once."""
    running = asyncio.create_task(parts.stream_guard.run())

    async def is_started() -> bool:
        return parts.lease.report is not None

    await eventually(is_started)
    yield
    await cancel_all([running])


async def publish_advisory(nats: InMemoryNats, body: bytes) -> None:
    await nats.publish("$JS.EVENT.ADVISORY.API", body)


@pytest.mark.usefixtures("guarded")
async def test_a_change_with_an_advisory_is_restored_at_once(nats: InMemoryNats) -> None:
    # Given a stream that a client deletes
    del nats.streams[NAMES.progress]
    with capture_logs() as lines:
        await publish_advisory(nats, advisory(f"STREAM.DELETE.{NAMES.progress}"))

        async def is_restored() -> bool:
            return (await inspect_streams(nats.jetstream(), SETTINGS)).missing == []

        await eventually(is_restored)
    # Then the stream exists again, and the log says so
    (line,) = [line for line in lines if line["event"] == "streams_found_missing"]
    assert line["names"][0] == NAMES.progress


async def test_changes_shortly_after_another_one_are_noticed_without_an_advisory(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given a guard that has just restored a stream
    constants(GUARD_EVERY_S=60.0, GUARD_AFTER_CHANGE_EVERY_S=0.12)

    async def is_whole() -> bool:
        return parts.stream_guard.are_streams_whole and NAMES.progress in nats.streams

    del nats.streams[NAMES.progress]
    running = asyncio.create_task(parts.stream_guard.run())
    await eventually(is_whole)
    # When the stream is deleted again, and the advisory is lost, then it is restored nevertheless
    del nats.streams[NAMES.progress]
    await eventually(is_whole)
    await cancel_all([running])


@pytest.mark.parametrize(
    ("body", "resource"),
    [
        (advisory("STREAM.UPDATE.results"), "results"),
        (advisory("STREAM.DELETE.results"), "results"),
        (advisory("STREAM.CREATE.results"), "results"),
        (advisory("CONSUMER.DURABLE.CREATE.tasks.worker"), "worker"),
        (advisory("CONSUMER.CREATE.tasks.worker.tasks.transcription.high"), "worker"),
        (advisory("CONSUMER.DELETE.tasks.worker"), "worker"),
        (advisory("CONSUMER.PAUSE.tasks.worker"), "worker"),
        (advisory("STREAM.INFO.results"), None),
        (advisory("STREAM.MSG.GET.results"), None),
        (advisory("CONSUMER.CREATE.results"), None),  # a consumer whose name the server chooses
        (b'"subject":"$JS.API.STREAM.UPDATE.\xff"', "\ufffd"),
        (b"", None),
    ],
)
def test_the_resource_that_an_advisory_reports_as_changed(body: bytes, resource: str | None) -> None:
    assert changed_resource(body) == resource


Check = Callable[[], Awaitable[list[str]]]


@pytest.fixture
def check(parts: Parts) -> Check:
    """Checks everything once, and returns the problems."""

    async def check() -> list[str]:
        await parts.stream_guard.check()
        return [problem.what for problem in parts.stream_guard.problems]

    return check


async def test_a_problem_is_reported_until_it_is_solved(check: Check, nats: InMemoryNats) -> None:
    # Given a stream that NATS refuses to restore
    assert await check() == []
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, REFUSED)
    (problem,) = await check()
    assert problem.startswith(f"The stream {NAMES.progress} is not as the service needs it")
    # When the worker checks again soon, then it does not repeat the request
    nats.requests.clear()
    assert await check() == [problem]
    assert UPDATE not in nats.requests
    # And when an operator has restored the setting, then the problem is gone
    nats.streams[NAMES.progress].config["allow_direct"] = True
    assert await check() == []


async def test_a_stream_that_will_soon_refuse_audio_is_reported(check: Check, parts: Parts, nats: InMemoryNats) -> None:
    # Given a stream of audio that may hold ten bytes, and has eight
    stream = nats.streams[NAMES.live]
    stream.config["max_bytes"] = 10
    await nats.jetstream().publish("live.audio.t1", b"12345678")
    assert await check() == []
    # When there is one byte more, then the stream is reported
    await nats.jetstream().publish("live.audio.t1", b"9")
    full = f"The stream {NAMES.live} is more than 80 % full, and refuses new messages when it is full"
    assert await check() == [full]
    # And the stream does not count as broken, which would raise an alert
    assert b"natscribe_streams_broken 0.0" in parts.meter.exposition()
    # And when the stream has more room, then the problem is gone
    stream.config["max_bytes"] = 20
    assert await check() == []


async def test_a_refused_restoration_is_repeated(check: Check, nats: InMemoryNats, constants: Constants) -> None:
    constants(RESTORE_EVERY_S=0.0)
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, REFUSED)
    assert len(await check()) == 1
    assert await check() == []
    assert nats.streams[NAMES.progress].config["allow_direct"] is True


async def test_an_unanswered_change_is_a_problem(check: Check, nats: InMemoryNats) -> None:
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, NatsTimeoutError())
    (problem,) = await check()
    assert problem == f"{NAMES.progress} are not as the service needs them, and NATS does not answer the change"


async def test_a_stream_in_the_way_is_a_problem(check: Check, nats: InMemoryNats) -> None:
    del nats.streams[NAMES.progress]
    await nats.jetstream().add_stream(name="other", subjects=["append.progress.*"])
    (problem,) = await check()
    assert "refuses to create the stream" in problem


async def test_a_stream_that_another_worker_creates_is_no_problem(check: Check, nats: InMemoryNats) -> None:
    # Given a stream that another worker creates while NATS refuses this creation
    stream = nats.streams.pop(NAMES.progress)

    def create() -> None:
        nats.streams[NAMES.progress] = stream
        raise REFUSED

    nats.before(f"$JS.API.STREAM.CREATE.{NAMES.progress}", create)
    assert await check() == []


async def test_strays_are_appended_again_for_a_while_after_a_change(check: Check, nats: InMemoryNats) -> None:
    # Given a stream that no client has changed: the guard searches no strays
    await check()
    await store_strays(nats, "t1")
    await check()
    assert subjects_of(nats) == ["append.progress.t1"]
    # When the stream was restored, then later strays are appended, too
    nats.streams[NAMES.progress].config["allow_direct"] = False
    await check()
    await store_strays(nats, "t2")
    await check()
    assert subjects_of(nats) == ["progress.t1", "progress.t2"]


async def test_a_frozen_holder_of_the_lease_changes_nothing_when_it_wakes_up(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given another worker that has taken the lease while its holder was frozen
    other = Parts(nats)
    await other.lease.open()
    assert not await other.lease.take()
    monkeypatch.setattr(lease, "monotonic", lambda: monotonic() + lease.LOST_AFTER_S)
    monkeypatch.setattr(RedisProjection, "is_empty", AsyncMock(return_value=True))
    assert await other.lease.take()
    # When the former holder finds a changed stream and a missing one
    nats.streams[NAMES.progress].config["allow_direct"] = False
    del nats.streams[NAMES.segments]
    nats.requests.clear()
    # Then it changes nothing
    for change in (parts.stream_guard.check, parts.maintenance.restart_projection):
        with pytest.raises(lease.LeaseLostError):
            await change()
    assert not parts.lease.held
    assert {request.split(".")[3] for request in nats.requests if request.startswith("$JS.API.")} == {"INFO", "MSG"}


async def test_a_holder_that_loses_the_lease_between_two_changes_stops(nats: InMemoryNats) -> None:
    # Given a changed stream, strays and a consumer, and a worker that loses the lease after one confirmation
    nats.streams[NAMES.progress].config["allow_direct"] = False
    await store_strays(nats, "t1")
    confirmations = [None]

    async def confirm() -> None:
        if not confirmations:
            raise lease.LeaseLostError
        confirmations.pop()

    # When it restores the stream, then it appends no stray afterwards
    with pytest.raises(lease.LeaseLostError):
        await provision(nats.jetstream(), SETTINGS, confirm=confirm)
    assert nats.streams[NAMES.progress].config["allow_direct"] is True
    assert subjects_of(nats) == ["append.progress.t1"]
    # And when it has appended a stray, then it does not remove it, and when it has deleted a consumer, it adds none
    confirmations.append(None)
    with pytest.raises(lease.LeaseLostError):
        await append_strays(nats.jetstream(), STREAMS[NAMES.progress], confirm=confirm)
    assert sorted(subjects_of(nats)) == ["append.progress.t1", "progress.t1"]
    confirmations.append(None)
    with pytest.raises(lease.LeaseLostError):
        await recreate_projection_consumers(nats.jetstream(), SETTINGS, confirm=confirm)
    assert NAMES.progress_projection not in nats.streams[NAMES.progress].consumers


async def test_without_a_lease_missing_streams_are_created_and_others_reported(
    check: Check, parts: Parts, nats: InMemoryNats
) -> None:
    # Given a lease that no worker can take, a missing stream, a changed one and a changed bucket of the lease
    await parts.lease.release()
    parts.lease.unavailable = Problem(what="unavailable", next_step="")
    del nats.streams[NAMES.segments]
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.streams["KV_fleet"].config["allow_direct"] = False
    # When the worker checks, then it creates the one, restores the bucket, and only reports the other
    unavailable, problem = await check()
    assert unavailable == "unavailable"
    assert (
        problem == f"{NAMES.progress} are not as the service needs them, and no worker changes them without the lease"
    )
    assert NAMES.segments in nats.streams
    assert nats.streams["KV_fleet"].config["allow_direct"] is True
    assert nats.streams[NAMES.progress].config["allow_direct"] is False
    assert not parts.stream_guard.are_streams_whole
    # And it has no metric, on whose absence an alert depends
    assert b"natscribe_streams_broken 0.0" not in parts.meter.exposition()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NatsTimeoutError(), "timeout"),
        (TooFewServersError(3), "at least 3 servers"),
        (ServiceUnavailableError(code=503, err_code=10076), "JetStream"),
    ],
)
async def test_a_start_ends_with_the_reason(constants: Constants, error: Exception, message: str) -> None:
    # Given a step that fails at first
    constants(RETRY_EVERY_S=0.0)
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise error
        return tries

    # When there is time, then the step is repeated; otherwise the error explains why
    assert await retry_until_available(step) == 3
    tries = 0
    constants(NATS_WITHIN_S=-1.0)
    with pytest.raises(StartError, match=message):
        await retry_until_available(step)
