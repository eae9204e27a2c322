"""The program of an engine process: reads jobs from stdin and writes replies to stdout, one JSON object a line."""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import BinaryIO

from natscribe.schemas.errors import ErrorCode, ErrorDetail

from app.engines.messages import JOB, Failed, Job, Reply, Setup
from app.engines.process.job_runner import Emit, JobRunner
from app.runtime.errors import PermanentError, TaskError, TransientError

_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY = "The engine ran out of memory: give the service more, or use a smaller model."
_BROKEN = "The engine failed: the service's operator finds the reason in its log."
_IDLE_S = 30.0  # a process without a job for so long returns its free memory; the next job gets it back in 30 ms


def main() -> None:
    """Run jobs until the worker closes stdin."""
    _leave_signals_to_parent()
    output = _take_stdout()
    first = sys.stdin.buffer.readline()
    if not first:
        return
    setup = Setup.model_validate_json(first)
    _tie_to(setup.parent)
    lines: SimpleQueue[bytes] = SimpleQueue()
    Thread(target=_read, args=(sys.stdin.buffer, lines), daemon=True).start()
    runner = JobRunner(setup)
    while True:
        try:
            line = lines.get(timeout=_IDLE_S)
        except Empty:
            with suppress(AttributeError):  # only glibc has this function
                ctypes.CDLL(None).malloc_trim(0)
            line = lines.get()
        serve(runner.run, line, output)


def _tie_to(parent: int) -> None:
    """Make Linux kill this process when the worker, the process `parent`, ends, even while a library holds the GIL.

    On other systems, this process notices only the end of stdin (see `_read`).
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the worker ended before prctl took effect
        os._exit(1)


def _leave_signals_to_parent() -> None:
    """Ignore the signals that a terminal sends to all processes: the worker decides when the engine stops."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _take_stdout() -> BinaryIO:
    """Return the original stdout, to which only replies are written; send what libraries print to stderr instead."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return output


def _read(source: BinaryIO, lines: SimpleQueue[bytes]) -> None:
    for line in source:
        lines.put(line)
    os._exit(0)  # the worker is gone or has closed stdin: exit at once, even in the middle of a job


def serve(run: Callable[[Job, Emit], None], line: bytes, output: BinaryIO) -> None:
    """Run the job that `line` contains as JSON; write its replies to `output`, or `Failed` if an error ends it."""

    def emit(reply: Reply) -> None:
        output.write(reply.model_dump_json().encode() + b"\n")
        output.flush()

    try:
        run(JOB.validate_json(line), emit)
    except TaskError as error:
        _log(error)
        emit(Failed(error=error.detail, transient=isinstance(error, TransientError)))
    except Exception as error:  # noqa: BLE001 -- no error of a job may end the process
        _log(error)
        message = _OUT_OF_MEMORY if isinstance(error, MemoryError) else _BROKEN
        emit(Failed(error=ErrorDetail(code=ErrorCode.ENGINE_FAILED, message=message), transient=True))


def _log(error: BaseException) -> None:
    """Write the type and traceback of an error to stderr, but not its message, which may quote a recording.

    Only an error of the operating system is written with a reason, such as a full disk. The worker gets a
    `PermanentError` in the reply, so it is not written; but the error that caused it is, if there is one.
    """
    cause = error.__cause__ if isinstance(error, PermanentError) else error
    if cause is None:
        return
    frames = traceback.extract_tb(cause.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    reason = f" ({os.strerror(cause.errno)})" if isinstance(cause, OSError) and cause.errno else ""
    print(f"{type(cause).__name__}{reason} in {where}", file=sys.stderr, flush=True)  # noqa: T201 -- the worker logs it


if __name__ == "__main__":
    main()
