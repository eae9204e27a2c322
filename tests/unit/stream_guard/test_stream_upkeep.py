"""How the service makes its streams, puts back what others change, and brings home records that went astray."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind, Lane, Priority
from structlog.testing import capture_logs

from app.cancellation import cancel_all
from app.jetstream.connection import StartError, TooFewServersError, retry_until_available
from app.jetstream.streams import stream_configs
from app.settings import Settings
from app.stream_guard.provisioning import StreamError, inspect_streams, provision, recreate_projection_consumers
from app.stream_guard.restoration import is_refusal
from app.stream_guard.strays import append_strays
from app.task_log.log import TaskLog
from app.task_log.record import Metadata
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, SETTINGS, Parts
from tests.waiting import eventually

QUEUE = NAMES.queue_consumer(Lane.TRANSCRIPTION, Priority.HIGH)
STREAMS = {str(config.name): config for config in stream_configs(SETTINGS)}
UPDATE = f"$JS.API.STREAM.UPDATE.{NAMES.progress}"
REFUSED = APIError(code=500, err_code=10052, description="deny purge cannot be taken back")
METADATA = Metadata(None, 3, "tasks.transcription.high", datetime.now(UTC))


def event(task_id: str) -> ProgressEvent:
    now = datetime.now(UTC)
    return ProgressEvent(
        task_id=task_id, kind=Kind.TRANSCRIPTION, state=State.QUEUED, max_attempts=4, sequence=1, time=now
    )


async def test_what_is_missing_is_made_once() -> None:
    # Given a server that has nothing
    nats = InMemoryNats()
    assert len((await inspect_streams(nats.jetstream(), SETTINGS)).missing) == 24
    # When everything is provisioned twice
    first, second = [await provision(nats.jetstream(), SETTINGS) for _ in range(2)]
    # Then the first makes all consumers, and the second none
    assert (len(first.made), second.made) == (13, set())
    assert (await inspect_streams(nats.jetstream(), SETTINGS)).sound
    assert first.problems == second.problems == {}


@pytest.mark.parametrize(("existing", "used"), [(5.0, 5.0), (60.0, SETTINGS.task_ack_wait)])
async def test_the_shortest_time_of_a_queue_counts(nats: InMemoryNats, existing: float, used: float) -> None:
    # Given consumers of an earlier setting: one of a queue, and one of the projection
    nats.streams[NAMES.tasks].consumers[QUEUE].config["ack_wait"] = int(existing * 1e9)
    nats.streams[NAMES.progress].consumers[NAMES.progress_projection].config["ack_wait"] = int(1e9)
    assert (await provision(nats.jetstream(), SETTINGS)).ack_wait == used


async def test_a_needed_setting_is_put_back_and_a_choice_stays(nats: InMemoryNats) -> None:
    # Given a stream and a consumer that somebody has changed
    nats.streams[NAMES.progress].config |= {"allow_direct": False, "max_age": int(9 * 24 * 3600 * 1e9)}
    nats.streams[NAMES.tasks].consumers[QUEUE].config |= {"max_deliver": 3, "ack_wait": int(60e9)}
    # When everything is provisioned
    with capture_logs() as lines:
        await provision(nats.jetstream(), SETTINGS, {NAMES.progress: "reports"})
    # Then what the service needs is back, and the rest is as it was chosen
    log, queue = nats.streams[NAMES.progress].config, nats.streams[NAMES.tasks].consumers[QUEUE].config
    assert (log["allow_direct"], log["max_age"]) == (True, 9 * 24 * 3600 * 10**9)
    assert (queue["max_deliver"], queue["ack_wait"]) == (-1, 60 * 10**9)
    # And the log says who that was, as far as it is known, and what else differs
    restored = {line["of"]: (line["by"], line["settings"]) for line in lines if line["event"] == "settings_restored"}
    assert restored == {NAMES.progress: ("reports", ["allow_direct"]), QUEUE: ("unknown", ["max_deliver"])}
    differing = [(line["of"], line["setting"]) for line in lines if line["event"] == "configuration_difference_found"]
    assert differing == [(NAMES.progress, "max_age"), (QUEUE, "ack_wait")]


async def test_other_replicas_are_told_with_the_command_that_changes_them(nats: InMemoryNats) -> None:
    nats.streams[NAMES.progress].config["num_replicas"] = 3
    with capture_logs() as lines:
        await provision(nats.jetstream(), SETTINGS)
    (line,) = [each for each in lines if each["event"] == "configuration_difference_found"]
    assert line["change"] == f"nats stream edit {NAMES.progress} --replicas 1"
    # And for every stream and bucket where the setting is another, and nothing is changed
    with capture_logs() as lines:
        await provision(nats.jetstream(), SETTINGS.model_copy(update={"nats_replicas": 5}))
    assert [line["change"] for line in lines] == [f"nats stream edit {name} --replicas 5" for name in nats.streams]
    assert nats.streams[NAMES.progress].config["num_replicas"] == 3


async def test_what_nats_refuses_to_change_is_a_problem(nats: InMemoryNats) -> None:
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, REFUSED)
    problems = (await provision(nats.jetstream(), SETTINGS)).problems
    assert list(problems) == [NAMES.progress]
    assert "(allow_direct), and NATS refuses to change it: deny purge" in problems[NAMES.progress].what


@pytest.mark.parametrize(
    ("code", "err_code", "refusal"),
    [(500, 10052, True), (400, 10052, True), (404, 10059, False), (503, 10008, False), (400, 10058, False)],
)
async def test_which_errors_pass(nats: InMemoryNats, code: int, err_code: int, refusal: bool) -> None:
    error = APIError(code=code, err_code=err_code, description="words")
    assert is_refusal(error) is refusal
    assert is_refusal(APIError(code=code, err_code=0)) is False
    # What passes is raised, and tried again
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, error)
    if refusal:
        assert (await provision(nats.jetstream(), SETTINGS)).problems
    else:
        with pytest.raises(APIError):
            await provision(nats.jetstream(), SETTINGS)


async def test_a_stream_of_somebody_else_is_in_the_way() -> None:
    # Given a stream that has the subjects of the tasks
    nats = InMemoryNats()
    await nats.jetstream().add_stream(name="other", subjects=["tasks.>"])
    # When everything is provisioned, then the operator is told what to do
    with pytest.raises(StreamError, match=r"refuses to make the stream transcription_tasks .*overlap.*nats stream rm"):
        await provision(nats.jetstream(), SETTINGS)


@pytest.mark.parametrize(
    ("err_code", "replicas", "error"),
    [(10005, 3, TooFewServersError), (10074, 3, TooFewServersError), (10074, 1, StreamError), (10052, 3, StreamError)],
)
async def test_a_cluster_may_have_too_few_servers(err_code: int, replicas: int, error: type[Exception]) -> None:
    nats = InMemoryNats()
    nats.before("$JS.API.STREAM.CREATE", APIError(code=400, err_code=err_code, description="no"))
    with pytest.raises(error):
        await provision(nats.jetstream(), Settings(_env_file=None, nats_replicas=replicas))


async def test_a_stream_that_cannot_be_made_now_is_tried_again() -> None:
    nats = InMemoryNats()
    nats.before("$JS.API.STREAM.CREATE", ServiceUnavailableError(code=503, err_code=10008))
    with pytest.raises(ServiceUnavailableError):
        await provision(nats.jetstream(), SETTINGS)


@pytest.mark.parametrize(
    ("changed", "outdated"),
    [
        ({"subjects": ["progress.*"], "allow_atomic": True}, True),
        ({"subjects": ["progress.*"], "allow_atomic": False}, False),
        ({"allow_atomic": True}, False),
    ],
)
async def test_streams_of_an_early_version_are_told(
    nats: InMemoryNats, changed: dict[str, object], outdated: bool
) -> None:
    nats.streams[NAMES.progress].config |= changed
    if outdated:
        with pytest.raises(StreamError, match=f"before 0.2.0 has made these streams: {NAMES.progress}"):
            await provision(nats.jetstream(), SETTINGS)
    else:
        await provision(nats.jetstream(), SETTINGS)


async def test_what_is_paused_is_a_problem_that_changes_nothing(nats: InMemoryNats) -> None:
    nats.streams[NAMES.tasks].consumers[QUEUE].config["paused"] = True
    findings = await inspect_streams(nats.jetstream(), SETTINGS)
    assert (findings.broken, findings.sound) == (set(), False)
    assert QUEUE in findings.paused[0].what


async def test_a_projection_begins_anew(nats: InMemoryNats) -> None:
    # Given consumers of the projection, of which one is there, and has delivered
    nats.streams[NAMES.progress].consumers[NAMES.progress_projection].delivered = 7
    del nats.streams[NAMES.results].consumers[NAMES.results_projection]
    await recreate_projection_consumers(nats.jetstream(), SETTINGS)
    # Then both are there, and deliver from the beginning; the others are as they were
    assert nats.streams[NAMES.progress].consumers[NAMES.progress_projection].delivered == 0
    assert (await inspect_streams(nats.jetstream(), SETTINGS)).missing == []


async def astray(nats: InMemoryNats, *task_ids: str) -> None:
    """Records that went astray while their stream had no transform."""
    stream = nats.streams[NAMES.progress]
    transform = stream.config.pop("subject_transform")
    for task_id in task_ids:
        headers = {"ce-id": f"of-{task_id}", "Nats-Expected-Last-Subject-Sequence": "0"} | METADATA.headers()
        body = event(task_id).model_dump_json().encode()
        stream.publish(f"append.progress.{task_id}", body, headers, nats.now)
    stream.config["subject_transform"] = transform


def subjects_of(nats: InMemoryNats) -> list[str]:
    return [each.subject for each in nats.streams[NAMES.progress].messages]


@pytest.mark.parametrize("deny_purge", [False, True])
async def test_strays_come_home_in_their_order(nats: InMemoryNats, deny_purge: bool) -> None:
    # Given more strays than one step takes, in a stream that can be purged or not
    ids = [f"t{number}" for number in range(101)]
    await astray(nats, *ids)
    wanted = STREAMS[NAMES.progress].evolve(deny_purge=deny_purge)
    if deny_purge:
        nats.streams[NAMES.progress].config["deny_delete"] = False
    # When they are appended again, then each is in its log, once
    await append_strays(nats.jetstream(), wanted)
    assert subjects_of(nats) == [f"progress.{task_id}" for task_id in ids]


async def test_a_stray_whose_log_another_writer_has_begun_is_dropped(nats: InMemoryNats) -> None:
    await astray(nats, "t1", "t2")
    await TaskLog(nats.client, NAMES, "other").append(event("t1"), METADATA, after=0)
    await append_strays(nats.jetstream(), STREAMS[NAMES.progress])
    assert subjects_of(nats) == ["progress.t1", "progress.t2"]


async def test_strays_stay_where_they_are_without_a_transform(nats: InMemoryNats) -> None:
    # Given strays in a stream that loses its transform again
    await astray(nats, "t1", "t2")
    del nats.streams[NAMES.progress].config["subject_transform"]
    await append_strays(nats.jetstream(), STREAMS[NAMES.progress])
    # Then none is lost
    assert subjects_of(nats)[:2] == ["append.progress.t1", "append.progress.t2"]


async def test_an_append_that_is_refused_without_a_log_leaves_its_stray(nats: InMemoryNats) -> None:
    await astray(nats, "t1")
    nats.before("append.progress.t1", BadRequestError(code=400, err_code=10071))
    await append_strays(nats.jetstream(), STREAMS[NAMES.progress])
    assert subjects_of(nats) == ["append.progress.t1"]


@pytest.mark.parametrize(("gone", "code"), [(True, 10057), (True, 10043), (False, 10057)])
async def test_a_stray_that_another_worker_removes_is_no_error(nats: InMemoryNats, gone: bool, code: int) -> None:
    # Given a stray whose removal is refused, because it is gone or for another reason
    await astray(nats, "t1")
    stream = nats.streams[NAMES.progress]

    def refuse() -> None:
        if gone:
            stream.remove(stream.of("append.>"))
        raise APIError(code=400, err_code=code)

    nats.before("$JS.API.STREAM.MSG.DELETE", refuse)
    wanted = STREAMS[NAMES.progress].evolve(deny_purge=True)
    # When it is appended again, then only what stays in the way is told
    if gone:
        await append_strays(nats.jetstream(), wanted)
        assert subjects_of(nats) == ["progress.t1"]
    else:
        with pytest.raises(APIError):
            await append_strays(nats.jetstream(), wanted)


async def test_a_missing_stream_is_no_stream_without_strays(nats: InMemoryNats) -> None:
    del nats.streams[NAMES.progress]
    with pytest.raises(NotFoundError):
        await append_strays(nats.jetstream(), STREAMS[NAMES.progress])


def advisory(subject: str, *, refused: bool = False, client: str = "reports") -> bytes:
    response = {"error": {"code": 500, "err_code": 10052, "description": "no"}} if refused else {}
    told = {"client": {"name": client}, "subject": f"$JS.API.{subject}", "response": json.dumps(response)}
    return json.dumps(told, separators=(",", ":")).encode()


@pytest.fixture
async def watched(parts: Parts, nats: InMemoryNats) -> AsyncIterator[None]:
    """A worker that looks for changes, and has looked once."""
    running = asyncio.create_task(parts.stream_guard.run())

    async def listens() -> bool:
        return bool(nats.listeners) and parts.projection.stream_created_at != ""

    await eventually(listens)
    yield
    await cancel_all([running])


async def tell(nats: InMemoryNats, body: bytes) -> None:
    await nats.publish("$JS.EVENT.ADVISORY.API", body)


@pytest.mark.usefixtures("watched")
async def test_a_change_that_is_told_is_mended_at_once_and_names_its_client(
    nats: InMemoryNats, constants: Constants
) -> None:
    # Given a stream that a client deletes, and a worker that leaves what it is not told to others
    constants(ADVISORY_HEAD_START_S=3600)
    del nats.streams[NAMES.progress]
    with capture_logs() as lines:
        await tell(nats, advisory(f"STREAM.DELETE.{NAMES.progress}"))

        async def mended() -> bool:
            return (await inspect_streams(nats.jetstream(), SETTINGS)).missing == []

        await eventually(mended)
    # Then it is back, and the log says by whom it went
    (line,) = [each for each in lines if each["event"] == "streams_found_missing"]
    assert line["names"][0] == NAMES.progress
    assert line["by"] == ["reports"]


@pytest.mark.usefixtures("watched")
async def test_a_refused_change_is_logged_now_and_then(nats: InMemoryNats) -> None:
    with capture_logs() as lines:
        for client in ("a", "a", "b"):
            await tell(nats, advisory(f"STREAM.UPDATE.{NAMES.progress}", refused=True, client=client))
        await tell(nats, advisory("STREAM.UPDATE.somebody_elses", refused=True))
    refused = [(line["of"], line["by"]) for line in lines if line["event"] == "stream_change_refused"]
    assert refused == [(NAMES.progress, "a"), (NAMES.progress, "b")]


async def look(parts: Parts) -> list[str]:
    """Look once; the problems that are found."""
    await parts.stream_guard.check()
    return [problem.what for problem in parts.stream_guard.problems]


async def test_what_another_worker_mends_at_once_is_left_to_it(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given a stream that is missing only a moment, of which another worker is told
    constants(ADVISORY_HEAD_START_S=0.0)
    nats.before(f"$JS.API.STREAM.INFO.{NAMES.progress}", NotFoundError(code=404, err_code=10059))
    with capture_logs() as lines:
        assert await look(parts) == []
    assert lines == []


async def test_a_problem_is_told_until_it_is_mended(parts: Parts, nats: InMemoryNats, constants: Constants) -> None:
    constants(ADVISORY_HEAD_START_S=0.0)
    # Given a stream that NATS refuses to put back
    assert await look(parts) == []
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, REFUSED)
    (problem,) = await look(parts)
    assert problem.startswith(f"The stream {NAMES.progress} is not as the service needs it")
    # When a worker looks again soon, then it does not ask NATS again
    nats.asked.clear()
    assert await look(parts) == [problem]
    assert UPDATE not in nats.asked
    # And when somebody has mended it, then all is well
    nats.streams[NAMES.progress].config["allow_direct"] = True
    assert await look(parts) == []


async def test_a_stream_that_soon_refuses_sound_is_told(parts: Parts, nats: InMemoryNats, constants: Constants) -> None:
    constants(ADVISORY_HEAD_START_S=0.0)
    # Given a stream of sound that may hold ten bytes, and has eight
    stream = nats.streams[NAMES.live]
    stream.config["max_bytes"] = 10
    await nats.jetstream().publish("live.audio.t1", b"12345678")
    assert await look(parts) == []
    # When there is one byte more, then that is told
    await nats.jetstream().publish("live.audio.t1", b"9")
    full = f"The stream {NAMES.live} is more than 80 % full, and refuses what comes when it is full"
    assert await look(parts) == [full]
    # And it is no broken stream, for which somebody would be called at night
    assert b"natscribe_streams_broken 0.0" in parts.meter.exposition()
    # And when it has more room, then all is well
    stream.config["max_bytes"] = 20
    assert await look(parts) == []


async def test_a_refused_change_is_tried_again(parts: Parts, nats: InMemoryNats, constants: Constants) -> None:
    constants(ADVISORY_HEAD_START_S=0.0, RESTORE_EVERY_S=0.0)
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, REFUSED)
    assert len(await look(parts)) == 1
    assert await look(parts) == []
    assert nats.streams[NAMES.progress].config["allow_direct"] is True


async def test_an_unanswered_change_is_a_problem(parts: Parts, nats: InMemoryNats, constants: Constants) -> None:
    constants(ADVISORY_HEAD_START_S=0.0)
    nats.streams[NAMES.progress].config["allow_direct"] = False
    nats.before(UPDATE, NatsTimeoutError())
    (problem,) = await look(parts)
    assert problem == f"{NAMES.progress} are not as the service needs them, and NATS does not answer the change"


async def test_a_stream_in_the_way_is_a_problem(parts: Parts, nats: InMemoryNats, constants: Constants) -> None:
    constants(ADVISORY_HEAD_START_S=0.0)
    del nats.streams[NAMES.progress]
    await nats.jetstream().add_stream(name="other", subjects=["append.progress.*"])
    (problem,) = await look(parts)
    assert "refuses to make the stream" in problem


async def test_what_is_mended_meanwhile_is_no_problem(parts: Parts, nats: InMemoryNats, constants: Constants) -> None:
    # Given a stream that somebody makes while NATS refuses to make it
    constants(ADVISORY_HEAD_START_S=0.0)
    gone = nats.streams.pop(NAMES.progress)

    def make() -> None:
        nats.streams[NAMES.progress] = gone
        raise REFUSED

    nats.before(f"$JS.API.STREAM.CREATE.{NAMES.progress}", make)
    assert await look(parts) == []


async def test_strays_come_home_for_a_while_after_a_change(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    constants(ADVISORY_HEAD_START_S=0.0)
    # Given a stream that nobody has changed: nobody looks for strays
    await look(parts)
    await astray(nats, "t1")
    await look(parts)
    assert subjects_of(nats) == ["append.progress.t1"]
    # When it was mended, then strays that come later are found, too
    nats.streams[NAMES.progress].config["allow_direct"] = False
    await look(parts)
    await astray(nats, "t2")
    await look(parts)
    assert subjects_of(nats) == ["progress.t1", "progress.t2"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NatsTimeoutError(), "timeout"),
        (TooFewServersError(3), "at least 3 servers"),
        (ServiceUnavailableError(code=503, err_code=10076), "JetStream"),
    ],
)
async def test_a_start_gives_up_with_what_is_wrong(constants: Constants, error: Exception, words: str) -> None:
    # Given a step that fails at first
    constants(RETRY_EVERY_S=0.0)
    tries = 0

    async def step() -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise error
        return tries

    # When there is time, then it is repeated; else its error is told in words
    assert await retry_until_available(step) == 3
    tries = 0
    constants(NATS_WITHIN_S=-1.0)
    with pytest.raises(StartError, match=words):
        await retry_until_available(step)
