"""Cores: whether any are free for more work, as Linux counts it."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")  # a second
_STAT = Path("/proc/stat")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_USAGE = Path("/sys/fs/cgroup/cpu.stat")
_IDLE = slice(4, 6)  # of a cpu's line: idle, and idle while a disk is waited for
_ALMOST = 0.7  # of a core counts as free: nothing is ever quite idle
SHORTEST_S = 0.2  # to measure over: in less, one tick of a clock more or less decides


@dataclass(frozen=True, slots=True)
class _Look:
    at: float  # seconds, as are the others
    idle: float  # of all cores that this process may use
    used: float  # by the control group


class Cores:
    """Measures from look to look how many cores were idle, within what the control group may use."""

    def __init__(self) -> None:
        self._before = _look()

    def free(self, wanted: int) -> bool:
        """Whether `wanted` cores were free since the last measurement; False where nothing can be measured."""
        before, now = self._before, _look()
        if before is not None and now is not None and now.at - before.at < SHORTEST_S:
            return False
        self._before = now
        if before is None or now is None:
            return False
        seconds = now.at - before.at
        idle = (now.idle - before.idle) / seconds
        allowed = _quota() - (now.used - before.used) / seconds
        return min(idle, allowed) >= wanted * _ALMOST


def windows_at_once(wanted: int, threads: int) -> int:
    """Choose how many windows are transcribed at the same time, each on `threads` threads; 0 `wanted`: all cores."""
    usable = min(float(len(os.sched_getaffinity(0))), _quota()) if hasattr(os, "sched_getaffinity") else 1.0
    return wanted or max(int(usable / threads), 1)


def _look() -> _Look | None:
    try:
        mine = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines()]
        idle = sum(int(ticks) for line in lines if line[0] in mine for ticks in line[_IDLE]) / _TICKS
    except (OSError, AttributeError, ValueError):
        return None
    return _Look(time.monotonic(), idle, _used())


def _quota() -> float:
    """Cores that the control group may use."""
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # `cpu.max` says `max`, which is no limit, or there is no control group
        return float("inf")


def _used() -> float:
    try:
        usage = _USAGE.read_text(encoding="ascii").partition("usage_usec ")[2].split()[0]
        return int(usage) / 1_000_000
    except (OSError, IndexError, ValueError):
        return 0.0
