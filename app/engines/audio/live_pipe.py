"""The pipe of a live file: engine jobs write the bytes of the file to it, and a thread reads and decodes them."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

import av
from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import TransientError

_MAX_FRAMES = 250  # frames that are decoded ahead: up to 120 ms each
MAX_STALL_S = 30  # seconds without progress after which decoding fails


class Pipe:
    """A two-way pipe between engine jobs, which write the bytes of a file, and the thread that decodes the file.

    The thread sends the decoded frames back.
    """

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
        """Send the next bytes of the file to the decoding thread; called by an engine job."""
        with self._changed():
            self._bytes += more

    def frames(self) -> list[av.AudioFrame]:
        """Receive, in an engine job, the frames that the decoding thread has decoded; [] if there are none.

        Wait first until the thread needs more bytes, has ended, or has filled the pipe.

        Raises:
            TransientError: engine_failed: the thread was not ready within MAX_STALL_S seconds.
            Exception: The error that ended the thread; ValueError if it ended before the file ended, without an error.
        """
        with self._changed():
            for _ in range(MAX_STALL_S):  # not one long wait, which would be over when a frozen process continues
                if self._condition.wait_for(self._is_ready, timeout=1):
                    break
            else:
                message = "Decoding of the live audio has stalled: the service processes the audio again."
                raise TransientError(ErrorCode.ENGINE_FAILED, message)
            frames = list(self._frames)
            self._frames.clear()
            if not frames and self._done and (self._error or not self._ended):
                raise self._error or ValueError()
            return frames

    def end(self) -> None:
        """Signal to the decoding thread that no more bytes follow."""
        with self._changed():
            self._ended = True

    def close(self) -> None:
        """Make the decoding thread end, wherever it is in the file."""
        with self._changed():
            self._closed = True

    def read(self, size: int) -> bytes:
        """Wait, in the decoding thread, for bytes of the file, and return up to `size` of them; b"" at its end.

        PyAV calls this method, because it reads the pipe as a file.
        """
        with self._condition:
            self._reading = True
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._bytes or self._ended or self._closed)
            self._reading = False
            data = b"" if self._closed else bytes(self._bytes[:size])
            del self._bytes[:size]
            return data

    def put(self, frame: av.AudioFrame) -> None:
        """Send a frame from the decoding thread to the engine job; while the pipe is full of frames, wait first."""
        with self._changed():
            self._condition.wait_for(lambda: self._closed or len(self._frames) < _MAX_FRAMES)
            self._frames.append(frame)

    def finish(self, error: Exception | None) -> None:
        """Signal to the engine job that the decoding thread ends: with `error`, or, if None, at the end of the file."""
        with self._changed():
            self._done, self._error = True, error

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """Hold the lock while the `with` block changes the pipe, then wake the other side."""
        with self._condition:
            try:
                yield
            finally:
                self._condition.notify_all()

    def _is_ready(self) -> bool:
        needs_bytes = self._reading and not self._bytes and not self._ended
        return needs_bytes or self._done or len(self._frames) >= _MAX_FRAMES
