"""What the service's log says, and what it never says."""

import io
import json
import logging
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.progress import State
from natscribe.settings import without_login

from app.runtime.errors import PermanentError
from app.settings import VERSION, Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import DEADLINE, eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
PERMANENT = PermanentError(ErrorCode.AUDIO_UNREADABLE, "The recording is not audio: upload an audio file.")


@pytest.fixture(autouse=True)
def _a_recording_with_a_telling_name(recordings_folder: Path) -> None:
    (recordings_folder / "secret-meeting.flac").write_bytes(b"audio")


def test_services_do_not_log_between_the_dots_of_the_tests() -> None:
    # The import of `app.main` has set up its log, but only pytest gets the log lines of tests
    assert not any(type(handler) is logging.StreamHandler for handler in logging.getLogger().handlers)


async def run_three(publisher: Publisher, js: JetStreamContext) -> None:
    """A task that ends well, two that fail, and one that is no task."""
    task = {"task_id": "t1", "audio_file_id": "secret-meeting.flac", "user_id": 90071992547409911, "language": "en"}
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01", AUDIO_SECONDS: "30"}
    await js.publish("tasks.transcription.high", json.dumps(task).encode(), headers=headers)
    await publisher.until("t1", State.COMPLETED)
    await publisher.reaching(State.FAILED, "t2", audio_file_id="secret-meeting.flac")
    await publisher.reaching(State.FAILED, "t3", audio_file_id="secret-name.flac")
    await js.publish("tasks.transcription.high", b'{"secret-field": "secret-value"}')
    for fmt in ("json", "txt"):
        await publisher.nc.request(
            "tasks.result", json.dumps({"task_id": "t1", "format": fmt}).encode(), timeout=DEADLINE
        )
    await eventually(lambda: queue_is_empty(js))


async def test_each_line_names_its_task_and_event(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
    settings: Settings,
    log: io.StringIO,
) -> None:
    engine.fail_with = [None, PERMANENT]
    async with start_worker(engine):
        await run_three(publisher, js)
    # Each line is JSON and names an event
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert all(line["event"] and line["level"] and line["timestamp"] for line in lines)
    # The end of a task says which, how long and why
    ends = {line.get("task_id"): line for line in lines if line["event"] == "task_delivery_ended"}
    assert ends["t1"]["task_name"] == "process_transcription"
    assert (ends["t1"]["attempt"], ends["t1"]["trace_id"], ends["t1"]["state"]) == (1, TRACE, "completed")
    assert ends["t1"]["execution_time"] >= 0
    assert "error" not in ends["t1"]
    # Its start and its end say how much audio, by which worker, and whether the cache knew the result
    starts = {line.get("task_id"): line for line in lines if line["event"] == "task_started"}
    first = next(line for line in lines if line["event"] == "worker_configured")
    for line in (starts["t1"], ends["t1"]):
        assert (line["audio_seconds"], line["worker"]) == (30, first["worker"])
    # But no line says for whom: the user may be deleted, and lines stay
    assert "90071992547409911" not in log.getvalue()
    assert ends["t1"]["cached"] is False
    # The first line says what the service uses, without passwords
    assert first["nats"] == settings.nats_addresses
    assert (first["model"], first["device"], first["version"]) == ("whisper-base", "auto", VERSION)
    assert first["redis"] == without_login(settings.redis_url)
    assert ends["t2"]["error"] == "audio_unreadable"
    # FastStream's lines go the same way
    assert any("FastStream app" in line["event"] for line in lines)


@pytest.mark.foreign
async def test_an_announcement_that_nests_too_deeply_is_no_error_of_the_services(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, log: io.StringIO
) -> None:
    # Given a worker that is busy
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.reaching(State.RUNNING, "busy")
        # When a message claims to be JSON and cannot be parsed
        await publisher.nc.publish("accepted.tasks.transcription.normal", b"[" * 100_000)
        # And a task comes behind it
        await publisher.reaching(State.QUEUED, "t1")
    # Then there is no error in the log
    levels = {json.loads(line)["level"] for line in log.getvalue().splitlines()}
    assert not levels & {"error", "critical"}
