"""What the doctor shows on a terminal."""

from datetime import UTC, datetime
from unittest.mock import AsyncMock

import pytest
from natscribe.cli import doctor
from natscribe.cli.commands import command_line
from natscribe.cli.console import Terminal
from natscribe.client.examination import Examination, Server
from natscribe.client.permission_checks import Permission
from natscribe.schemas.wire import Model
from natscribe.schemas.workers import Problem, WorkerInfo
from typer.testing import CliRunner

WIDTH = 80
WORKER = WorkerInfo(
    worker="transcription-worker-7c9f8d6b54-x2x4q-1-9f3c",
    version="0.3.0",
    started_at=datetime.now(UTC),
    idle=False,
    model=Model(name="whisper-large-v3", revision="d01c3014881c"),
    engine="cuda float16 beam 5",
    audio_store="s3://a-long-bucket-name/and/its/prefix",
    audio_store_answers=True,
    redis_answers=False,
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


def shown(examination: Examination, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[int, str]:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr(doctor, "out", Terminal(stderr=False))
    monkeypatch.setattr(doctor, "examine", AsyncMock(return_value=examination))
    result = CliRunner().invoke(command_line(["doctor"]), ["doctor", *options])
    return result.exit_code, result.stdout


def test_the_output_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = shown(EXAMINATION, monkeypatch)
    assert code == 1
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    words = " ".join(text.split())
    assert "nats-1:4222, version 2.15.1, round trip 0.4 ms, in a cluster with nats-2:4222" in words
    assert (
        "may status may not dead-letters replay: that is for operator may not cancel, delete: that is for publis"
        in words
    )
    assert "Wrong: Redis does not answer 1 of 1 workers. Next: start Redis." in words
    assert "All is well" not in text


def test_json_is_the_whole_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = shown(EXAMINATION, monkeypatch, "--json")
    assert (code, Examination.model_validate_json(text)) == (1, EXAMINATION)


def test_the_exit_code_is_zero_without_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = shown(EXAMINATION.model_copy(update={"ok": True, "problems": []}), monkeypatch)
    assert code == 0
    assert text.splitlines()[-1] == "All is well."
