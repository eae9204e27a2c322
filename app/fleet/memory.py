"""Memory use of this process and its children, in bytes; only on Linux, as it is read from /proc."""

import os
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def resident(process: int | str = "self") -> int:
    """Return the resident memory of a process (by default, this one) in bytes; 0 if the process has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def resident_children() -> int:
    """Return the resident memory of all child processes in bytes: the processes of the engine."""
    try:
        children = [tasks.read_text(encoding="ascii") for tasks in Path("/proc/self/task").glob("*/children")]
    except OSError:
        return 0
    return sum(resident(process) for process in " ".join(children).split())


def limit() -> int:
    """Return the memory limit of this process's control group in bytes; 0 if there is none."""
    try:
        return int(_CGROUP_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
