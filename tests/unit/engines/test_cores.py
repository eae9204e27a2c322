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
        """Let time pass in which each core is idle for a part, and the group uses this number of cores."""
        self.seconds += seconds
        self.idle = [before + part * seconds for before, part in zip(self.idle, idle, strict=True)]
        self.used += used * seconds
        lines = [
            f"cpu{number} 5 5 5 {round(idle * TICKS)} 0 1 1 0 0 0" for number, idle in enumerate([*self.idle, 9e4])
        ]
        (self._folder / "stat").write_text("\n".join(["cpu  1 2 3 4 5 6 7", *lines, "intr 1 2"]))
        (self._folder / "cpu.stat").write_text(f"usage_usec {round(self.used * 1e6)}\nuser_usec 1\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("seconds", "idle", "threads", "free"), [(10, 0.7, 1, True), (0.2, 0.9, 1, True), (10, 1, 2, False)]
)
def test_cores_that_were_idle_are_free(machine: Machine, seconds: float, idle: float, threads: int, free: bool) -> None:
    cores_of_machine = Cores()
    machine.passes(seconds, idle=(0, idle))
    assert cores_of_machine.free(threads) is free


def test_what_the_machine_does_else_counts(machine: Machine) -> None:
    # Given a core that was idle until the last measurement, and busy since
    cores_of_machine = Cores()
    machine.passes(10, idle=(0, 1))
    assert cores_of_machine.free(1)
    machine.passes(10, idle=(0.2, 0.2))
    # Then it is not free any more, and the third core, which is not for us, does not matter
    assert not cores_of_machine.free(1)


def test_a_short_measurement_is_ignored(machine: Machine) -> None:
    # Given a core that is busy, and idle for a few milliseconds
    cores_of_machine = Cores()
    machine.passes(9.9, idle=(0, 0.5))
    assert not cores_of_machine.free(1)
    machine.passes(0.05, idle=(0, 1))
    # When it is measured again at once, then it is not free
    assert not cores_of_machine.free(1)
    # And when it stays idle, the whole time since the last measurement counts
    machine.passes(0.16, idle=(0, 1))
    assert cores_of_machine.free(1)


def test_no_more_than_the_control_group_may_use(machine: Machine) -> None:
    # Given two idle cores, and a control group that may use one and does
    machine.quota("100000 100000")
    cores_of_machine = Cores()
    machine.passes(10, idle=(1, 1), used=0.9)
    assert not cores_of_machine.free(1)
    # When it does not
    machine.passes(10, idle=(1, 1), used=0.1)
    # Then there is room
    assert cores_of_machine.free(1)


def test_where_nothing_can_be_measured_nothing_is_free(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores_of_machine = Cores()
    (tmp_path / "stat").unlink()
    assert (cores_of_machine.free(0), cores_of_machine.free(0)) == (False, False)
    # And a system that does not report its cores has one
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores.usable_cores() == 1
