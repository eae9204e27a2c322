"""What the doctor shows on a terminal."""

from unittest.mock import AsyncMock

import pytest
from natscribe.cli import doctor
from natscribe.client.examination import Examination, Server
from natscribe.client.permission_checks import Permission
from natscribe.schemas.examples import WORKER_INFO
from natscribe.schemas.workers import Problem

from tests.unit.cli.conftest import Run

WORKER = WORKER_INFO.model_copy(
    update={
        "worker": "transcription-worker-7c9f8d6b54-x2x4q-1-9f3c",
        "engine": "cuda float16 beam 5",
        "audio_store": "s3://a-long-bucket-name/and/its/prefix",
        "redis_answers": False,
    }
)
EXAMINATION = Examination(
    ok=False,
    nats_url="nats://nats-1:4222, nats://nats-2:4222",
    user="follower",
    inbox_prefix="_INBOX_follower",
    audio_store="nats://audio",
    client_version="0.3.0",
    server=Server(address="nats-1:4222", version="2.15.1", further_servers=["nats-2:4222"], round_trip_ms=0.4),
    task_stream="transcription_tasks",
    workers=[WORKER],
    rights=[
        Permission(command="cancel", subject="tasks.cancel", allowed=False, users=("publisher",)),
        Permission(command="status", subject="tasks.status", allowed=True, users=("publisher", "follower", "operator")),
        Permission(command="dead-letters replay", subject="dead_letters.replay", allowed=False, users=("operator",)),
        Permission(command="delete", subject="tasks.delete", allowed=False, users=("publisher",)),
    ],
    problems=[Problem(what="Redis does not answer 1 of 1 workers", next_step="start Redis")],
)


@pytest.fixture
def examine(monkeypatch: pytest.MonkeyPatch) -> AsyncMock:
    """Let every examination find EXAMINATION."""
    examine = AsyncMock(return_value=EXAMINATION)
    monkeypatch.setattr(doctor, "examine", examine)
    return examine


@pytest.mark.usefixtures("terminal", "examine")
def test_the_output_fits_a_narrow_terminal(run: Run) -> None:
    result = run("doctor")
    assert result.exit_code == 1
    assert max(len(line) for line in result.stdout.splitlines()) <= 80
    words = " ".join(result.stdout.split())
    assert "nats-1:4222, version 2.15.1, round trip 0.4 ms, in a cluster with nats-2:4222" in words
    assert (
        "may status may not dead-letters replay: that is for operator may not cancel, delete: that is for publis"
        in words
    )
    assert "Wrong: Redis does not answer 1 of 1 workers. Next: start Redis." in words
    assert "All is well" not in words


@pytest.mark.usefixtures("examine")
def test_json_is_the_whole_examination(run: Run) -> None:
    result = run("doctor", "--json")
    assert (result.exit_code, Examination.model_validate_json(result.stdout)) == (1, EXAMINATION)


def test_the_exit_code_is_zero_without_problems(run: Run, examine: AsyncMock) -> None:
    examine.return_value = EXAMINATION.model_copy(update={"ok": True, "problems": []})
    result = run("doctor")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "All is well.")
