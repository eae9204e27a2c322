"""What `natscribe up` gives its workers."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.cli.service import share_of_cores
from app.engines import cores
from app.settings import MOST_WINDOWS, Settings

Machine = Callable[[int], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Have so many cores, without a limit."""

    def has(number: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)))
        monkeypatch.setattr(cores, "_QUOTA", tmp_path / "no limit")

    return has


@pytest.mark.parametrize(
    ("number", "workers", "threads", "share"),
    [(8, 2, 1, 4), (8, 3, 1, 2), (8, 2, 2, 2), (2, 4, 1, 1), (64, 2, 1, MOST_WINDOWS)],
)
def test_workers_share_the_cores(machine: Machine, number: int, workers: int, threads: int, share: int) -> None:
    # Given a machine, and an operator who has not said how many windows go at the same time
    machine(number)
    settings = Settings(_env_file=None, engine_threads=threads, engine_parallel=0)
    # When workers are started, then each has an equal share, which the settings allow
    assert share_of_cores(settings, workers) == share
    assert Settings(_env_file=None, engine_parallel=share).engine_parallel == share


def test_what_the_operator_says_goes_first(machine: Machine) -> None:
    machine(8)
    assert share_of_cores(Settings(_env_file=None, engine_parallel=3), workers=2) == 3
