"""Each test of the command runs in an empty folder."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command looks for `.env` and for `.data`, which `natscribe up` leaves in the folder of its run."""
    monkeypatch.chdir(tmp_path)
