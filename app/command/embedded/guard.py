"""Runs a command that must not outlive the guard's parent: `python -IS guard.py LOCK TIMEOUT GRACE COMMAND...`.

While another process holds LOCK, the guard waits up to TIMEOUT seconds. The parent holds the other end of the guard's
standard input. When the parent ends in any way, this pipe closes; then the guard sends SIGTERM to the command's
process, and SIGKILL after GRACE seconds. The guard imports only the standard library, so it takes little time and
memory.
"""

import contextlib
import ctypes
import fcntl
import glob
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>


def main() -> int:
    """Run the command that the command-line arguments name, and return its exit code.

    Write to standard output the process id of the command, or why the command cannot start.
    """
    path, timeout, grace, *command = sys.argv[1:]
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(lock, float(timeout)):
        pids = " ".join(map(str, holders(lock)))
        _report(
            f"another run uses {path}: use that run, or stop it in its terminal;"
            f" if that run has crashed, end its remaining processes with `kill {pids}`"
        )
        return 1
    process = subprocess.Popen(  # noqa: S603 -- the parent chooses the command
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        pass_fds=[lock],  # the process inherits the lock, which is held until the process has ended
        preexec_fn=_terminate_with_guard,  # noqa: PLW1509 -- there are no threads yet
    )
    threading.Thread(target=_stop_with_parent, args=(process, float(grace)), daemon=True).start()
    _report(str(process.pid))
    code = process.wait()
    return code if code >= 0 else 128 - code


def _report(line: str) -> None:
    os.write(sys.stdout.fileno(), os.fsencode(f"{line}\n"))


def _locked(lock: int, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def holders(lock: int) -> list[int]:
    """Return the ids of all other processes that have the lock file open.

    `lock`: a file descriptor of the lock file.
    """
    lock_stat, pids = os.fstat(lock), set()
    for link in map(Path, glob.iglob("/proc/[0-9]*/fd/*")):  # noqa: PTH207 -- pathlib's fails if a process ends
        with contextlib.suppress(OSError):  # the file has just been closed, or is another user's
            if os.path.samestat(link.stat(), lock_stat):
                pids.add(int(link.parts[2]))
    return sorted(pids - {os.getpid()})


def _terminate_with_guard() -> None:
    """Ask the kernel to send SIGTERM to this process when its parent, the guard, is killed.

    The new process calls this function before it runs the command.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop_with_parent(process: subprocess.Popen[bytes], grace: float) -> None:
    while os.read(0, 1024):
        pass
    process.terminate()
    process.send_signal(signal.SIGCONT)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        os.killpg(0, signal.SIGKILL)  # the guard's process group: the guard, the process and its children


if __name__ == "__main__":
    sys.exit(main())
