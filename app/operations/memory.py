"""Memory: how much this process and its children hold, from Linux' /proc."""

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def resident(process: int | str = "self") -> int:
    """Resident bytes of a process, 0 where it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def resident_children() -> int:
    """Resident bytes of the child processes, which are the engine."""
    try:
        found = [tasks.read_text(encoding="ascii") for tasks in Path("/proc/self/task").glob("*/children")]
    except OSError:
        return 0
    return sum(resident(process) for process in " ".join(found).split())


def limit() -> int:
    """The control group's limit in bytes, 0 where there is none."""
    try:
        return int(_CGROUP_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
