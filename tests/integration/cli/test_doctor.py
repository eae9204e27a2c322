"""The examination of what a client depends on, with real servers."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from unittest.mock import AsyncMock, patch

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError
from natscribe.client import connection, examination
from natscribe.client.examination import Examination, examine
from natscribe.jetstream import server_version
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.wire import Model

from app.command.embedded import free_port, running
from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.servers import NatsServer, ValkeyServer, in_memory
from tests.terminal import Terminal
from tests.waiting import eventually
from tests.workers import working


class NatsWithoutJetStream(NatsServer):
    def _command(self, port: int) -> list[str]:
        return [self._executable(), "--name", self.name, "--addr", "127.0.0.1", "--port", str(port)]


@pytest.fixture
def settings(settings: Settings, constants: Constants) -> Settings:
    constants(REPLIES_WITHIN_S=1.0, CHECKED_WITHIN_S=2.0)
    return settings.model_copy(update={"audio_store": "nats://audio"})


def problems(report: Examination) -> list[str]:
    return [problem.what for problem in report.problems]


async def test_all_is_well(settings: Settings, worker: Worker, js: JetStreamContext, tmp_path: Path) -> None:
    # Given a worker that has loaded its model
    await eventually(lambda: worker.container.engine.loaded is not None)
    # When `doctor` runs
    terminal = Terminal(tmp_path, settings)
    code, out, err = await terminal.run("doctor", "--json")
    # Then it reports the servers and the worker, and no problem
    assert (code, err) == (0, "")
    report = Examination.model_validate_json(out)
    assert report.problems == []
    assert report.server is not None
    assert report.server.address == settings.nats_url.removeprefix("nats://").replace("localhost", "127.0.0.1")
    assert report.task_stream == "transcription_tasks"
    (info,) = report.workers
    assert info.worker == worker.container.worker_name
    assert (info.version, info.idle, info.redis_answers, info.audio_store_answers) == ("0.3.0", True, True, True)
    assert info.model == Model(name="fake", revision="0")
    assert [right.command for right in report.rights if not right.allowed] == []
    assert "voices list" in [right.command for right in report.rights]
    # And it has changed nothing: no task, no dead letter
    for stream in ("transcription_tasks", "transcription_dead_letters", "transcription_progress"):
        assert (await js.stream_info(stream)).state.last_seq == 0, stream
    # And in the bucket of recordings, to which it has written, it has left nothing
    bucket = (await js.stream_info("OBJ_audio")).state
    assert (bucket.last_seq, bucket.messages) == (1, 0)


async def test_no_server(settings: Settings) -> None:
    # Given an address without a server
    away = settings.model_copy(update={"nats_url": f"nats://127.0.0.1:{free_port()}"})
    report = await examine(away)
    # Then the problem has a next step
    assert not report.ok
    assert problems(report) == [f"No NATS server answers at {away.nats_url}"]
    assert "set NATS_URL" in report.problems[0].next_step


async def test_a_server_without_jetstream(settings: Settings) -> None:
    with in_memory() as folder:
        server = NatsWithoutJetStream(folder, free_port())
        async with running(server):
            report = await examine(settings.model_copy(update={"nats_url": server.url}))
    # Then both JetStream and the worker are reported as missing
    assert not report.ok
    assert "NATS answers, but has no JetStream" in problems(report)
    assert report.server is not None


async def test_a_server_that_hangs(
    settings: Settings, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, constants: Constants
) -> None:
    # Given a server that stops while it is examined
    constants(ROUND_TRIP_WITHIN_S=0.2)

    async def then_hang(chosen: Settings) -> object:
        connected = await connection.connect(chosen)
        nats_server.pause()
        return connected

    monkeypatch.setattr(examination, "connect", then_hang)
    report = await examine(settings.model_copy(update={"nats_url": nats_server.url}))
    # Then the examination ends, and reports only missing replies
    assert report.problems
    assert [what for what in problems(report) if "answer" not in what and "replied" not in what] == []


async def test_a_server_that_is_too_old(
    settings: Settings, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examination, "OLDEST_SERVER", (99, 0))
    report = await examine(settings)
    assert "and the service needs 99.0" in problems(report)[0]
    assert report.problems[0].next_step == "update nats-server"


async def test_a_server_that_may_lose_acknowledged_messages(
    settings: Settings, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_version, "DURABLE_SINCE", (99, 0, 0))
    report = await examine(settings)
    assert "may lose acknowledged messages in a power failure" in problems(report)[0]


async def test_workers_of_another_contract(settings: Settings, nc: Client) -> None:
    # Given a worker whose reply has other fields
    async def reply(request: Msg) -> None:
        await request.respond(b'{"surprise": true}')

    subscription = await nc.subscribe(subjects.WORKERS, cb=reply)
    await nc.flush()
    report = await examine(settings)
    await subscription.unsubscribe()
    # Then the problem is about the contract
    assert "The service's reply does not fit this version of the contract" in problems(report)


async def test_no_worker(settings: Settings, js: JetStreamContext) -> None:
    # Given NATS alone
    report = await examine(settings)
    # Then the missing worker is the only problem
    assert problems(report) == ["NATS answers, but no worker of the service runs there"]
    assert "start one with" in report.problems[0].next_step


async def is_replaced(js: JetStreamContext, bucket: str) -> bool:
    """Replace a bucket by a stream, so that the service cannot create the bucket again."""
    with suppress(NotFoundError):
        await js.delete_object_store(bucket)
    with suppress(APIError):  # the service was quicker
        await js.add_stream(name="theirs", subjects=[f"$O.{bucket}.>"])
        return True
    return False


async def test_problems_of_workers_are_reported(
    settings: Settings,
    js: JetStreamContext,
    valkey: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
    constants: Constants,
) -> None:
    # Given a worker without Redis and with another store of recordings, which is gone, and a client of another release
    constants(REPLIES_WITHIN_S=5.0, CHECKED_WITHIN_S=10.0)
    theirs = settings.model_copy(update={"redis_url": valkey.url, "audio_store": "nats://elsewhere"})
    monkeypatch.setattr(examination, "_CLIENT_VERSION", "0.1.9")
    async with working(theirs, FakeEngine()) as worker:
        await valkey.kill()
        await eventually(partial(is_replaced, js, "elsewhere"))
        report = await examine(settings)
    # Then each is reported with the name of the worker
    name = worker.container.worker_name
    reported = "\n".join(problems(report))
    assert f"Redis does not answer 1 of 1 workers ({name})" in reported
    assert f"The store of recordings does not answer 1 of 1 workers ({name})" in reported
    assert "This client has version 0.1.9, and 0.3.0 is the version of 1 of 1 workers" in reported
    assert "The service reads recordings from nats://elsewhere, not in nats://audio" in reported
    steps = [problem.next_step for problem in report.problems]
    assert "update this client (pip install ./clients/python in a newer checkout)" in steps
    assert "set AUDIO_STORE=nats://elsewhere" in steps


async def test_a_worker_whose_task_was_just_cancelled_is_well(settings: Settings, js: JetStreamContext) -> None:
    # Given a worker that has loaded its model
    engine = FakeEngine()
    engine.loaded = None
    async with working(settings, engine) as worker:
        await eventually(lambda: worker.container.engine.loaded is not None)
        # When a cancellation has killed its engine, which loads the model again when the worker needs it
        engine.loaded = None
        # Then no problem is reported, and the model that its tasks get
        report = await examine(settings)
        assert problems(report) == []
        assert [info.model for info in report.workers] == [Model(name="fake", revision="0")]


async def test_a_worker_that_cannot_load_its_model_is_reported(settings: Settings, js: JetStreamContext) -> None:
    # Given a worker whose model cannot be loaded
    engine = FakeEngine()
    engine.loaded = None
    load = AsyncMock(side_effect=PermanentError(ErrorCode.ENGINE_FAILED, "There is no such model."))
    with patch.object(engine, "load", load):
        async with working(settings, engine) as worker:
            await eventually(lambda: load.await_count > 0)
            # Then the report says what to do
            report = await examine(settings)
    assert problems(report) == [f"No model is loaded in 1 of 1 workers ({worker.container.worker_name})"]
    assert "runbook: ModelNotLoaded" in report.problems[0].next_step
