"""Whether a core is free, from what Linux counts."""

import os
import time
from pathlib import Path

import pytest

from app.engines import cores
from app.engines.cores import Cores

TICKS = 100  # a second


class Machine:
    """Two cores and a control group, whose clocks the test moves."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.seconds = 0.0
        self.idle = [0.0, 0.0]
        self.used = 0.0
        for name, file in (("_STAT", "stat"), ("_QUOTA", "cpu.max"), ("_USAGE", "cpu.stat")):
            monkeypatch.setattr(cores, name, folder / file)
        monkeypatch.setattr(cores, "_TICKS_PER_SECOND", TICKS)
        monkeypatch.setattr(time, "monotonic", lambda: self.seconds)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
        self.quota("max 100000")
        self.passes(0)

    def quota(self, line: str) -> None:
        (self._folder / "cpu.max").write_text(line)

    def passes(self, seconds: float, *, idle: tuple[float, float] = (0, 0), used: float = 0) -> None:
        """Time in which each core is idle for a part of it, and the group uses so many cores."""
        self.seconds += seconds
        self.idle = [before + part * seconds for before, part in zip(self.idle, idle, strict=True)]
        self.used += used * seconds
        lines = [
            f"cpu{number} 5 5 5 {round(each * TICKS)} 0 1 1 0 0 0" for number, each in enumerate([*self.idle, 9e4])
        ]
        (self._folder / "stat").write_text("\n".join(["cpu  1 2 3 4 5 6 7", *lines, "intr 1 2"]))
        (self._folder / "cpu.stat").write_text(f"usage_usec {round(self.used * 1e6)}\nuser_usec 1\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(("seconds", "idle"), [(10, 0.7), (0.2, 0.9)])
def test_a_core_that_was_idle_is_free(machine: Machine, seconds: float, idle: float) -> None:
    looking = Cores()
    machine.passes(seconds, idle=(0, idle))
    assert looking.free(1)


def test_what_the_machine_does_else_counts(machine: Machine) -> None:
    # Given a core that was idle until the last measurement, and busy since
    looking = Cores()
    machine.passes(10, idle=(0, 1))
    assert looking.free(1)
    machine.passes(10, idle=(0.2, 0.2))
    # Then it is not free any more, and the third core, which is not for us, does not matter
    assert not looking.free(1)


def test_a_moment_says_nothing(machine: Machine) -> None:
    # Given a core that is busy, and idle for a few milliseconds
    looking = Cores()
    machine.passes(9.9, idle=(0, 0.5))
    assert not looking.free(1)
    machine.passes(0.05, idle=(0, 1))
    # When it is measured again at once, then it is not free
    assert not looking.free(1)
    # And when it stays idle, the whole time since the last measurement counts
    machine.passes(0.16, idle=(0, 1))
    assert looking.free(1)


def test_more_threads_want_more_cores(machine: Machine) -> None:
    looking = Cores()
    machine.passes(10, idle=(0, 1))
    assert not looking.free(2)


def test_no_more_than_the_control_group_may_use(machine: Machine) -> None:
    # Given two idle cores, and a control group that may use one and does
    machine.quota("100000 100000")
    looking = Cores()
    machine.passes(10, idle=(1, 1), used=0.9)
    assert not looking.free(1)
    # When it does not
    machine.passes(10, idle=(1, 1), used=0.1)
    # Then there is room
    assert looking.free(1)


def test_where_nothing_can_be_measured_nothing_is_free(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Cores()
    (tmp_path / "stat").unlink()
    assert (looking.free(0), looking.free(0)) == (False, False)
    # And a system that does not tell has one core
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores.usable_cores() == 1
