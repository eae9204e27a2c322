"""Runs commands in an empty folder, without servers."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from natscribe.cli.commands import command_line
from natscribe.cli.console import Terminal, out
from natscribe.client import session
from rich.text import Text
from typer.testing import CliRunner, Result

Run = Callable[..., Result]
Lines = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test in an empty folder: without `.env`, and without `.data`, which `natscribe up` leaves behind."""
    monkeypatch.chdir(tmp_path)
    for name in ("NATS_URL", "REDIS_URL", "AUDIO_STORE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run() -> Run:
    """Run a command."""
    return lambda *arguments, **options: CliRunner().invoke(command_line(arguments), arguments, **options)


@pytest.fixture
def lines(run: Run) -> Lines:
    """Run a command, and return the lines of its standard output without colours."""
    return lambda *arguments: Text.from_ansi(run(*arguments).stdout).plain.splitlines()


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client need no server; the test replaces its methods."""
    monkeypatch.setattr(session, "connect", AsyncMock())


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let standard output be a terminal of 80 columns."""
    monkeypatch.setattr(out, "_force_terminal", True)
    monkeypatch.setattr(out, "_width", 80)
    return out
