"""The limits of a recording: how long it may be, and how much time and memory reading it may take.

A hostile file can demand any amount of time or memory: 900 bytes can promise an index of three gigabytes, and 100,000
tags keep the decoding library busy for minutes before it returns. So the kernel enforces both limits. It ends an engine
process that exceeds its CPU time with SIGXCPU, whatever the process does; the worker then raises the error `too_slow`.
"""

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import process_time, thread_time

from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import PermanentError

_MIN_BYTES = 64 * 1024**2  # memory for reading a short recording
# Memory for the index of one second, because some formats list each packet: a day of AAC and 25 pictures a second in an
# mp4 takes 250 MB.
_BYTES_PER_SECOND = 3 * 1024
_NO_LIMIT_S = 10**9
_NO_LIMIT_BYTES = 2**62  # means no limit; the system call may reject a larger number
GRACE_S = 3  # the kernel counts whole seconds of all threads: between two packets, `Budget.check` is exact
_PRIVATE_MEMORY = re.compile(r"^VmData:\s+(\d+) kB$", re.MULTILINE)
_TOO_HUNGRY = "needs more memory than reading a recording may take"


@dataclass(frozen=True)
class Limit:
    """The limits for reading a recording.

    `seconds`: how long the recording may be. `setting`: the name of the setting that defines `seconds`, for error
    messages. `decode_seconds`: the CPU time, in seconds, that reading and decoding may take.
    """

    seconds: float
    setting: str
    decode_seconds: float = 600.0  # the setting AUDIO_MAX_DECODE_SECONDS

    def check(self, seconds: float) -> None:
        """Check that a recording of `seconds` seconds is not too long.

        Raises:
            PermanentError: audio_too_large: the recording is longer than the limit.
        """
        if seconds > self.seconds:
            message = f"The recording is longer than {self.seconds:g} s ({self.setting}): cut it into parts."
            raise PermanentError(ErrorCode.AUDIO_TOO_LARGE, message)

    @property
    def memory(self) -> float:
        """How many bytes this process may allocate to read the recording, in addition to those already allocated."""
        return _MIN_BYTES + _BYTES_PER_SECOND * self.seconds


class Budget:
    """Limits the CPU time and the memory for reading one recording.

    The CPU time is that of the calling thread, so a busy machine does not shorten it. If the decoding library does not
    return in time, the kernel ends this process. Memory that was allocated before the creation of this object does not
    count; memory is limited on Linux only.
    """

    def __init__(self, limit: Limit, readers: int = 1) -> None:
        """`readers`: how many read the recording, in turn: each needs memory, and together they have the CPU time."""
        self.limit = limit
        self.readers = readers
        self._spent = 0.0  # seconds of CPU time
        self._since: float | None = None
        self._usual = resource.getrlimit(resource.RLIMIT_DATA)
        self._strict = _strict(self._usual, readers * limit.memory)
        self._usual_time = resource.getrlimit(resource.RLIMIT_CPU)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count the CPU time of the `with` block, which reads the recording, and limit its memory.

        Raises:
            PermanentError: audio_unreadable: reading needs more memory than it may take.
        """
        self._run()
        try:
            yield
        except MemoryError as error:
            raise unreadable(_TOO_HUNGRY) from error
        finally:
            self._pause()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop counting CPU time and limiting memory for the `with` block, which processes what was already read."""
        self._pause()
        try:
            yield
        finally:
            self._run()

    @property
    def left(self) -> float:
        """How many seconds of CPU time are left."""
        running = 0.0 if self._since is None else thread_time() - self._since
        return self.limit.decode_seconds - self._spent - running

    def check(self) -> None:
        """Check that CPU time for reading is left.

        Raises:
            PermanentError: audio_too_large: reading the recording takes too long.
        """
        if self.left < 0:
            raise too_slow(self.limit.decode_seconds)

    def check_error(self, error: Exception) -> None:
        """Raise if `error`, an error of the decoder, comes from a lack of memory or CPU time; else return.

        Raises:
            MemoryError: The decoder got no more memory.
            PermanentError: audio_too_large: the CPU time is used up.
        """
        if isinstance(error, MemoryError):
            raise error
        self.check()

    def _run(self) -> None:
        self._since = thread_time()
        resource.setrlimit(resource.RLIMIT_DATA, self._strict)
        end = int(process_time() + min(self.limit.decode_seconds - self._spent, _NO_LIMIT_S)) + GRACE_S
        _, hard = self._usual_time
        resource.setrlimit(resource.RLIMIT_CPU, (end if hard == resource.RLIM_INFINITY else min(end, hard), hard))

    def _pause(self) -> None:
        if self._since is not None:
            self._spent += thread_time() - self._since
            self._since = None
        resource.setrlimit(resource.RLIMIT_DATA, self._usual)
        resource.setrlimit(resource.RLIMIT_CPU, self._usual_time)


def too_slow(seconds: float) -> PermanentError:
    """Return the error audio_too_large for a recording that takes more than `seconds` of CPU time to read."""
    return PermanentError(
        ErrorCode.AUDIO_TOO_LARGE,
        f"The recording takes more than {seconds:g} s of CPU time to read (AUDIO_MAX_DECODE_SECONDS): "
        "upload it as flac or wav.",
    )


def unreadable(what: str) -> PermanentError:
    """Return the error audio_unreadable, whose message begins with "The recording <what>: upload it again"."""
    return PermanentError(
        ErrorCode.AUDIO_UNREADABLE,
        f"The recording {what}: upload it again, or in another format, and submit a new task.",
    )


def _strict(usual: tuple[int, int], more: float) -> tuple[int, int]:
    """Return the soft and hard RLIMIT_DATA that let this process allocate at most `more` additional bytes.

    `usual`: the current soft and hard limit. They are returned unchanged on other systems than Linux, and if `more` is
    so large that no limit is needed.
    """
    soft, hard = usual
    try:
        used = _PRIVATE_MEMORY.search(Path("/proc/self/status").read_text(encoding="ascii", errors="replace"))
    except OSError:
        return usual
    if used is None or more > _NO_LIMIT_BYTES:
        return usual
    most = int(used[1]) * 1024 + int(more)
    return (most if soft == resource.RLIM_INFINITY else min(most, soft)), hard
