"""Measures free CPU cores on Linux, and chooses how many windows to transcribe at the same time."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")  # the unit of the times in _STAT
_STAT = Path("/proc/stat")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_USAGE = Path("/sys/fs/cgroup/cpu.stat")
_IDLE_COLUMNS = slice(4, 6)  # columns of a CPU's line in _STAT with idle time: idle, and waiting for a disk
_IDLE_SHARE = 0.7  # a core that was idle for this share of the time counts as free: no core is ever fully idle
MIN_INTERVAL_S = 0.2  # shortest time between two measurements: in a shorter one, a single clock tick changes the result


@dataclass(frozen=True, slots=True)
class _Measurement:
    at: float  # seconds on the monotonic clock
    idle: float  # seconds that the cores of this process were idle so far, in total
    used: float  # seconds of CPU time that the control group has used so far


class Cores:
    """Measures how many CPU cores are free: idle since the last measurement, and within the CPU quota of the cgroup."""

    def __init__(self) -> None:
        self._before = _measure()

    def free(self, needed: int) -> bool:
        """Return whether about `needed` cores or more were free since the last call.

        False if that cannot be measured, or if the last measurement is less than 0.2 s old.
        """
        before, now = self._before, _measure()
        if before is not None and now is not None and now.at - before.at < MIN_INTERVAL_S:
            return False
        self._before = now
        if before is None or now is None:
            return False
        seconds = now.at - before.at
        idle = (now.idle - before.idle) / seconds
        allowed = _quota() - (now.used - before.used) / seconds
        return min(idle, allowed) >= needed * _IDLE_SHARE


def windows_at_once(configured: int, threads: int) -> int:
    """Return how many windows of speech to transcribe at the same time, each on `threads` threads.

    That is `configured`, or, if `configured` is 0, as many windows as the usable cores allow, at least one.
    """
    return configured or max(int(usable_cores() / threads), 1)


def usable_cores() -> float:
    """Return how many cores this process may use; 1 if the system does not report this."""
    return min(float(len(os.sched_getaffinity(0))), _quota()) if hasattr(os, "sched_getaffinity") else 1.0


def _measure() -> _Measurement | None:
    try:
        usable = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        lines = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines()]
        ticks = sum(int(idle) for line in lines if line[0] in usable for idle in line[_IDLE_COLUMNS])
    except (OSError, AttributeError, ValueError):
        return None
    return _Measurement(time.monotonic(), ticks / _TICKS_PER_SECOND, _used())


def _quota() -> float:
    """Return how many cores this process's cgroup may use; infinity without a limit."""
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # the file says `max` (no limit), or there is no control group
        return float("inf")


def _used() -> float:
    try:
        usage = _USAGE.read_text(encoding="ascii").partition("usage_usec ")[2].split()[0]
        return int(usage) / 1_000_000
    except (OSError, IndexError, ValueError):
        return 0.0
