"""The table of the task queues."""

from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest
from natscribe.schemas.wire import Kind, Priority
from typer.testing import CliRunner

from app.cli import operate
from app.cli.commands import cli
from app.cli.console import Terminal
from app.client import TaskQueue
from app.queue.stored_message import StoredMessage

WIDTH = 80


def test_each_queue_is_one_row_of_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given long queues, whose tasks wait for long
    now = datetime.now(UTC)
    oldest = StoredMessage("tasks.transcription.high", 1, now - timedelta(hours=99), headers={})
    queues = [
        TaskQueue(kind, priority, undelivered=9_999_999, redelivered=(), running=9_999_999, ends=(), sample=(oldest,))
        for priority in Priority
        for kind in Kind
    ]
    monkeypatch.setattr("app.client.client.connect", AsyncMock())
    monkeypatch.setattr("app.client.Client.queue", AsyncMock(return_value=queues))
    monkeypatch.setattr("app.client.Client.failed", AsyncMock(return_value=0))
    monkeypatch.setattr("app.client.Client.newest_start", AsyncMock(return_value=now + timedelta(hours=12, minutes=1)))
    # When they are shown on a terminal of the usual width
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr(operate, "out", Terminal(stderr=False))
    shown = CliRunner().invoke(cli, ["queue"]).stdout
    # Then each is one row, and an expected start does not read like an age
    rows = [line for line in shown.splitlines() if "diarization" in line or "transcription" in line]
    assert len(rows) == len(queues)
    for row in rows:
        assert len(row) <= WIDTH
        assert "99:00:0" in row
        assert "in 12:00:5" in row
