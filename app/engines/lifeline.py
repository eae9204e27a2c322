"""The tie to the worker: an engine process must not outlive it, however it ends."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie_to(parent: int) -> None:
    """End this process as soon as `parent` ends, even while a library holds Python's lock (Linux).

    Elsewhere the end of the standard input, which the caller watches, has to do.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the tie held
        os._exit(1)


def leave_signals_to_parent() -> None:
    """Ignore the signals that a terminal sends to all processes: the worker decides when the engine stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
