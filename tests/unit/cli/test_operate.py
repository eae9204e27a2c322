"""The table of the task queues."""

from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest
from natscribe.cli import operate
from natscribe.cli.commands import command_line
from natscribe.cli.console import Terminal
from natscribe.schemas.task_queues import QueueOverview, QueueStatus
from natscribe.schemas.wire import Kind, Priority
from typer.testing import CliRunner

WIDTH = 80


def test_each_queue_is_one_row_of_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given long queues, whose tasks wait for long
    now = datetime.now(UTC)
    old, start = now - timedelta(hours=99), now + timedelta(hours=12, minutes=1)
    queues = [
        QueueStatus(kind=kind, priority=priority, waiting=9_999_999, running=9_999_999, oldest=old, newest_start=start)
        for priority in Priority
        for kind in Kind
    ]
    overview = QueueOverview(queues=queues, dead_letters=0)
    monkeypatch.setattr("natscribe.client.client.connect", AsyncMock())
    monkeypatch.setattr("natscribe.client.Client.queue", AsyncMock(return_value=overview))
    # When they are shown on a terminal of the usual width
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setattr(operate, "out", Terminal(stderr=False))
    shown = CliRunner().invoke(command_line(["queue"]), ["queue"]).stdout
    # Then each is one row, and an expected start does not read like an age
    rows = [line for line in shown.splitlines() if "diarization" in line or "transcription" in line]
    assert len(rows) == len(queues)
    for row in rows:
        assert len(row) <= WIDTH
        assert "99:00:0" in row
        assert "in 12:00:5" in row
