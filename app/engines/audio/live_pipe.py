"""The pipe between the jobs that bring bytes of a live file and the thread that decodes the file."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

import av
from natscribe.schemas.errors import ErrorCode

from app.errors import TransientError

_MAX_FRAMES = 250  # frames that are decoded ahead: up to 120 ms each
MAX_STALL_S = 30  # seconds without progress after which decoding fails


class Pipe:
    """A pipe in both directions: bytes of a file go to the thread that decodes it, and frames come back to the job."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._bytes = bytearray()
        self._frames: deque[av.AudioFrame] = deque()
        self._reading = False  # whether the thread waits for bytes
        self._ended = False  # no more bytes follow
        self._closed = False
        self._done = False  # the thread has ended
        self._error: Exception | None = None
        self.lost = 0.0  # seconds

    def write(self, more: bytes) -> None:
        """Send bytes from the job to the thread."""
        with self._changed():
            self._bytes += more

    def frames(self) -> list[av.AudioFrame]:
        """Wait in the job until the thread needs more bytes, has ended or has many frames; return its frames, if any.

        Raises:
            TransientError: engine_failed: nothing was decoded for MAX_STALL_S seconds.
            Exception: The error that has ended the thread; ValueError if it ended before the file without an error.
        """
        with self._changed():
            for _ in range(MAX_STALL_S):  # not one long wait, which would be over when a frozen process continues
                if self._condition.wait_for(self._is_ready, timeout=1):
                    break
            else:
                message = "Decoding of the live audio stands still: the service processes the audio again."
                raise TransientError(ErrorCode.ENGINE_FAILED, message)
            frames = list(self._frames)
            self._frames.clear()
            if not frames and self._done and (self._error or not self._ended):
                raise self._error or ValueError()
            return frames

    def end(self) -> None:
        """Signal to the thread that no more bytes follow."""
        with self._changed():
            self._ended = True

    def close(self) -> None:
        """Make the thread end, wherever it is in the file."""
        with self._changed():
            self._closed = True

    def read(self, size: int) -> bytes:
        """Wait in the thread for bytes, and return up to `size`; b"" is the end of the file. PyAV calls this method."""
        with self._condition:
            self._reading = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._bytes or self._ended or self._closed)
            self._reading = False
            data = b"" if self._closed else bytes(self._bytes[:size])
            del self._bytes[:size]
            return data

    def put(self, frame: av.AudioFrame) -> None:
        """Send a frame from the thread to the job; wait while the pipe is full of frames."""
        with self._changed():
            self._condition.wait_for(lambda: self._closed or len(self._frames) < _MAX_FRAMES)
            self._frames.append(frame)

    def finish(self, error: Exception | None) -> None:
        """Signal to the job that the thread ends, and with which error; None: at the end of the file."""
        with self._changed():
            self._done, self._error = True, error

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """Hold the lock for a change, and wake the other side after it."""
        with self._condition:
            try:
                yield
            finally:
                self._condition.notify_all()

    def _is_ready(self) -> bool:
        needs_bytes = self._reading and not self._bytes and not self._ended
        return needs_bytes or self._done or len(self._frames) >= _MAX_FRAMES
