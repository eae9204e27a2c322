"""Each test of the command runs in an empty folder."""

from pathlib import Path
from unittest.mock import AsyncMock

import pytest
from natscribe.client import client


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command looks for `.env` and for `.data`, which `natscribe up` leaves in the folder of its run."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client needs no server: a test says what its methods answer."""
    monkeypatch.setattr(client, "connect", AsyncMock())
