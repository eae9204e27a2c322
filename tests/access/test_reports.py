"""What the service reports of itself to each user: the doctor, `natscribe top`, workers, and storage; no secret."""

import asyncio
import json

import nats
import psutil
import pytest
from natscribe.cli import top
from natscribe.cli.top.dashboard import Dashboard
from natscribe.client import Client, NotAllowedError
from natscribe.client.examination import Examination, examine
from natscribe.schemas.workers import WorkerInfo
from pydantic import SecretStr

from app.main import Worker
from app.runtime.cancellation import cancel_all
from app.settings import Settings
from app.storage.jetstream.usage import read_usage
from tests.access.rules import configured
from tests.access.servers import (
    CLIENTS,
    RECORDING,
    USERS,
    GuardedNats,
    GuardedValkey,
    connected,
    inbox,
    login,
    password,
)
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.telemetry.test_metrics import sample
from tests.servers import Servers
from tests.waiting import DEADLINE, eventually
from tests.workers import working


@pytest.fixture
async def worker(worker: Worker) -> Worker:
    """A worker that has loaded its model."""
    await eventually(lambda: worker.container.engine.loaded is not None)
    return worker


def problems(report: Examination) -> list[str]:
    return [problem.what for problem in report.problems]


async def test_the_report_has_the_permissions_of_each_user(settings: Settings, worker: Worker) -> None:
    # When each client examines with its own permissions
    examined = await asyncio.gather(*(examine(login(settings, user)) for user in CLIENTS))
    rules = configured()
    for user, report in zip(CLIENTS, examined, strict=True):
        # Then there is no problem, and each permission is that of the server's configuration
        assert problems(report) == [], user
        assert [info.worker for info in report.workers] == [worker.container.worker_name]
        for right in report.rights:
            subject = right.subject.replace("$JS.API.", "$JS.ACK.natscribe.")  # as the accounts map it
            action = "subscribe" if right.command == "top" else "publish"
            assert right.allowed is rules[user].may(action, subject), (user, right)
            # And those are named who may
            assert {other for other in CLIENTS if rules[other].may(action, subject)} == set(right.users), right


async def test_a_user_without_permission_to_send_requests_is_shown_the_users_that_have_it(
    settings: Settings, worker: Worker
) -> None:
    users = ("monitoring", "admin")
    examined = await asyncio.gather(*(examine(login(settings, user)) for user in users))
    for user, report in zip(users, examined, strict=True):
        assert problems(report) == [f"The user '{user}' may send no request of the service"]
        assert report.problems[0].next_step.startswith("log in as publisher, follower or operator")


async def test_an_operator_writes_quotas_and_learns_of_an_invalid_one(
    settings: Settings, worker: Worker, guarded: GuardedNats
) -> None:
    # Given a quota that an operator has written
    async with connected(guarded, "operator") as operator:
        quotas = await operator.jetstream().key_value("quotas")
        await quotas.put("NDI", b'{"weight": 2}')
        await eventually(lambda: worker.container.quotas.of(42).weight == 2)
        assert (await quotas.get("NDI")).value == b'{"weight": 2}'
        # When the operator writes an invalid one, then the doctor reports it to every user
        await quotas.put("NDI", b'{"weight": 0}')
        await eventually(lambda: bool(worker.container.quotas.problems))
        assert (
            "The quota of the user 42 is not valid: weight" in problems(await examine(login(settings, "publisher")))[0]
        )
        assert worker.container.quotas.of(42).weight == 2
        # And when the operator deletes it, nothing is reported
        await quotas.delete("NDI")
        await eventually(lambda: not worker.container.quotas.problems)
    assert worker.container.quotas.of(42).weight == 1


async def test_a_wrong_password_and_a_wrong_inbox_prefix_are_named(settings: Settings) -> None:
    # Given a user with another password, and one without its inbox prefix
    guessed = login(settings, "publisher").model_copy(update={"nats_password": SecretStr("guessed")})
    elsewhere = login(settings, "operator").model_copy(update={"nats_inbox_prefix": inbox("service")})
    refused, unheard = await asyncio.gather(examine(guessed), examine(elsewhere))
    # Then the report says what to correct
    assert problems(refused) == [f"NATS at {settings.nats_url} refuses the login"]
    assert "NATS_PASSWORD" in refused.problems[0].next_step
    assert "guessed" not in refused.model_dump_json()
    assert problems(unheard) == ["NATS does not allow the user 'operator' to receive replies under _INBOX"]
    assert unheard.problems[0].next_step.startswith("set NATS_INBOX_PREFIX")


async def test_a_publisher_with_another_store_is_shown_that_of_the_service(settings: Settings, worker: Worker) -> None:
    # Given a publisher who has no right to the bucket that it names by mistake
    report = await examine(login(settings, "publisher").model_copy(update={"audio_store": "nats://sound"}))
    assert problems(report) == ["The service reads recordings from nats://audio, not in nats://sound"]
    assert report.problems[0].next_step == "set AUDIO_STORE=nats://audio"


async def seen(settings: Settings) -> Dashboard:
    board = Dashboard()
    async with Client(settings) as client:
        watching = asyncio.create_task(top.keep_current(client, board))
        await eventually(lambda: bool(board.running and board.failures and board.queue.queues) or bool(board.problems))
        await eventually(lambda: not board.problems or len(board.problems) > 2)
        await cancel_all([watching])
    return board


async def test_each_client_sees_what_runs_waits_and_has_failed(
    settings: Settings, worker: Worker, engine: FakeEngine
) -> None:
    # Given a task that has failed, one that runs, and one that waits
    async with Client(login(settings, "publisher")) as client:
        failed = await client.create_transcription_task("gone.flac", task_id="gone")
        assert [event async for event in client.follow(failed)]
        engine.may_go_on.clear()
        await client.create_transcription_task(RECORDING, task_id="runs")
        await client.create_transcription_task(RECORDING, task_id="waits")

        async def listed() -> bool:
            page = await client.tasks(limit=3)
            return {(task.task_id, str(task.state)) for task in page.tasks} >= {("runs", "running"), ("gone", "failed")}

        await eventually(listed)
        # When each user runs the checks
        users = (*CLIENTS, "monitoring")
        boards = dict(zip(users, await asyncio.gather(*(seen(login(settings, user)) for user in users)), strict=True))
        engine.may_go_on.set()
    # Then each kind of client sees all of it
    for user in CLIENTS:
        board = boards[user]
        assert board.problems == {}, user
        assert list(board.running) == ["runs"]
        assert [failure.task_id for failure in board.failures] == ["gone"]
        assert board.queue is not None
        assert sum(queue.waiting for queue in board.queue.queues) == 1
    # And the report for another user says what it lacks
    troubles = boards["monitoring"].problems
    assert set(troubles) == {"queue", "list", "progress"}
    assert all("log in as publisher or follower or operator" in trouble for trouble in troubles.values())


async def workers_seen_by(settings: Settings) -> list[WorkerInfo]:
    async with Client(settings) as client:
        return await client.workers()


async def test_each_worker_replies_to_each_kind_of_client(
    guarded: GuardedNats, valkey: GuardedValkey, settings: Settings
) -> None:
    # Given two workers, whose Redis dies
    async with working(settings, FakeEngine()) as one, working(settings, FakeEngine()) as other:
        names = {service.container.worker_name for service in (one, other)}
        await valkey.kill()
        # When each kind of client sends the request
        replies_by_user = await asyncio.gather(*(workers_seen_by(login(settings, user)) for user in CLIENTS))
        for user, replies in zip(CLIENTS, replies_by_user, strict=True):
            # Then both reply with their state
            assert {worker.worker for worker in replies} == names, user
            assert {worker.redis_answers for worker in replies} == {False}
            assert {worker.audio_store_answers for worker in replies} == {True}
        # And no other user receives the replies
        async with Client(login(settings, "monitoring")) as client:
            with pytest.raises(NotAllowedError):
                await client.workers()
    assert [line for line in guarded.refused() if "workers.info" not in line] == []


async def test_an_operator_discovers_the_workers(guarded: GuardedNats, settings: Settings, worker: Worker) -> None:
    # Given another worker
    async with working(settings, FakeEngine()) as other, connected(guarded, "operator") as nc:
        names = {service.container.worker_name for service in (worker, other)}
        # When an operator asks NATS for services, as `nats micro ls` does
        replies = await nc.subscribe(reply := f"{inbox('operator')}.1")
        await nc.publish("$SRV.PING", reply=reply)
        found = [json.loads((await replies.next_msg(timeout=DEADLINE)).data) for _ in names]
        # Then each worker is an instance, and is asked alone by its id
        assert {(instance["name"], instance["metadata"]["worker"]) for instance in found} == {
            ("natscribe", name) for name in names
        }
        for instance in found:
            stats = await nc.request(f"$SRV.STATS.natscribe.{instance['id']}", timeout=DEADLINE)
            assert json.loads(stats.data)["id"] == instance["id"]
    # And no other client may ask
    for user in ("publisher", "follower"):
        before = len(guarded.refused())
        async with connected(guarded, user) as nc:
            await nc.publish("$SRV.PING", reply=f"{inbox(user)}.1")
            await eventually(lambda before=before: len(guarded.refused()) > before)  # type: ignore[misc]  # no type


async def test_metrics_have_the_usage_of_jetstream_by_stream(settings: Settings, worker: Worker) -> None:
    # Given a task that is done, and its recording in the bucket
    async with Client(login(settings, "publisher")) as client:
        await client.wait_for_result(await client.create_transcription_task(RECORDING))
    # When the worker measures
    await worker.container.maintenance.measure_storage()
    # Then there are the sizes of bucket and streams, and what is allowed
    size = sample(worker, "natscribe_stream_bytes", ("stream", "OBJ_audio"))
    used = sample(worker, "natscribe_jetstream_used_bytes", ("storage", "disk"))
    limit = sample(worker, "natscribe_jetstream_limit_bytes", ("storage", "disk"))
    assert size is not None
    assert used is not None
    assert limit is not None
    assert RECORDING.stat().st_size <= size <= used < limit
    assert sample(worker, "natscribe_stream_bytes", ("stream", "transcription_progress"))
    assert sample(worker, "natscribe_jetstream_used_bytes", ("storage", "memory")) == 0
    assert sample(worker, "natscribe_jetstream_limit_bytes", ("storage", "memory"))


async def test_metrics_have_the_usage_of_redis(worker: Worker) -> None:
    # Given Redis with the users of the production stack, when the worker measures
    await worker.container.maintenance.measure_redis()
    # Then there is what Redis occupies, and that it may occupy any amount
    assert (sample(worker, "natscribe_redis_used_bytes") or 0) > 0
    assert sample(worker, "natscribe_redis_limit_bytes") == 0


@pytest.mark.parametrize("user", ["publisher", "admin"])
async def test_other_users_cannot_read_it(
    guarded: GuardedNats, worker: Worker, user: str, constants: Constants
) -> None:
    constants(FIRST_REPLY_S=0.2)
    async with connected(guarded, user) as connection:
        assert await read_usage(connection) == []
    assert len(guarded.refused()) == 1


async def test_a_server_without_accounts_reports_nothing(servers: Servers) -> None:
    async with await nats.connect(servers.nats_url) as connection:
        assert await read_usage(connection) == []


async def test_no_password_is_in_a_log_line_a_metric_or_the_list_of_processes(
    settings: Settings,
    engine: FakeEngine,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a worker that has logged in to both of its servers
    async with working(settings, engine) as worker:
        # When the passwords of its servers are searched for
        logged = caplog.text + "".join(capfd.readouterr())
        counted = worker.container.meter.exposition().decode()
        processes = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    passwords = [f"{password(user)!r}" if user == "service" else password(user) for user in USERS]
    # Then there is much to read, and none of them is in it
    assert "worker_configured" in logged
    assert any("nats-server" in process for process in processes)
    assert any("valkey" in process for process in processes)
    for text in (logged, counted, *processes):
        assert [secret for secret in (*passwords, "service-redis", "reader-redis") if secret in text] == []
    assert [process for process in processes if password("service") in process.split()] == []
