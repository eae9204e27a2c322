"""The next steps that `natscribe up` prints."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from app.command.next_steps import next_steps, settings_for_clients
from app.command.recording import TWO_READERS
from app.command.service import LocalService

NextSteps = Callable[[str], list[str]]


@pytest.fixture
def steps_at() -> NextSteps:
    return lambda url: list(next_steps(cast("LocalService", SimpleNamespace(servers={"NATS_URL": url}))))


@pytest.mark.parametrize(
    ("store", "command"),
    [(None, "transcribe --diarize"), ("s3://calls/today", "doctor"), ("nats://audio", "transcribe")],
)
def test_only_a_nats_bucket_gets_the_sample_recording(
    steps_at: NextSteps, monkeypatch: pytest.MonkeyPatch, store: str | None, command: str
) -> None:
    if store is not None:
        monkeypatch.setenv("AUDIO_STORE", store)
    assert command in steps_at("nats://127.0.0.1:4222")[1]


@pytest.mark.parametrize(("url", "elsewhere"), [("nats://127.0.0.1:4222", True), ("nats://me:secret@host:4222", False)])
def test_a_password_is_never_printed(
    steps_at: NextSteps, monkeypatch: pytest.MonkeyPatch, url: str, elsewhere: bool
) -> None:
    # Given another setting that clients need, and one that they do not
    monkeypatch.setenv("NATS_STREAM_NAME", "calls")
    monkeypatch.setenv("TASK_TIMEOUT", "60")
    lines = steps_at(url)
    # Then a command for other folders has both settings, unless one has a password
    assert any(line.strip().startswith(f"NATS_URL={url} NATS_STREAM_NAME=calls ") for line in lines) is elsewhere
    assert "secret" not in "".join(lines)
    assert "TASK_TIMEOUT" not in "".join(lines)


def test_a_recording_in_this_folder_has_a_short_name(steps_at: NextSteps, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(TWO_READERS) in steps_at("nats://127.0.0.1:4222")[1]
    monkeypatch.chdir(TWO_READERS.parent)
    assert steps_at("nats://127.0.0.1:4222")[1].endswith(f" {TWO_READERS.name}")


def test_paths_in_settings_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert settings_for_clients() == {}
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("NATS_TLS_CA_FILE", "ca.pem")
    assert settings_for_clients() == {"NATS_TLS_CA_FILE": str(tmp_path / "ca.pem")}
