"""The pipe between a job, which has bytes of a live file, and the thread that reads the file."""

from collections import deque
from threading import Condition

import av
from natscribe.schemas.errors import ErrorCode

from app.errors import TransientError

_MOST_FRAMES = 250  # frames that are decoded ahead: up to 120 ms each
MAX_STALL_S = 30  # seconds that decoding may stand still

STALLED = "Decoding of the live sound stands still: the service hears the sound again."


class Pipe:
    """A pipe in both directions: bytes of a file go to the thread that reads it, and frames come back to the job."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._bytes = bytearray()
        self._frames: deque[av.AudioFrame] = deque()
        self._reading = False  # whether the thread waits for bytes
        self._ended = False  # no more bytes follow
        self._closed = False
        self._done = False  # the thread has ended
        self._error: Exception | None = None
        self.lost = 0.0  # seconds

    def write(self, more: bytes) -> None:
        """Give bytes from the job to the thread."""
        with self._changed:
            self._bytes += more
            self._changed.notify_all()

    def frames(self) -> list[av.AudioFrame]:
        """Wait in the job until the thread wants more bytes, has ended or has many frames; return its frames, if any.

        Raises:
            TransientError: engine_failed: nothing was decoded for MAX_STALL_S seconds.
            Exception: The error that has ended the thread; ValueError if it ended before the file without an error.
        """
        with self._changed:
            for _ in range(MAX_STALL_S):  # not one long wait, which would be over when a frozen process goes on
                if self._changed.wait_for(self._has_news, timeout=1):
                    break
            else:
                raise TransientError(ErrorCode.ENGINE_FAILED, STALLED)
            frames = list(self._frames)
            self._frames.clear()
            self._changed.notify_all()
            if not frames and self._done and (self._error or not self._ended):
                raise self._error or ValueError()
            return frames

    def end(self) -> None:
        """Say to the thread that no more bytes follow."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Make the thread end, wherever it is in the file."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def read(self, most: int) -> bytes:
        """Wait in the thread for bytes, and return up to `most`; b"" is the end of the file. PyAV calls this method."""
        with self._changed:
            self._reading = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._bytes or self._ended or self._closed)
            self._reading = False
            taken = b"" if self._closed else bytes(self._bytes[:most])
            del self._bytes[:most]
            return taken

    def put(self, frame: av.AudioFrame) -> None:
        """Give a frame from the thread to the job; wait while the pipe is full of frames."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._frames) < _MOST_FRAMES)
            self._frames.append(frame)
            self._changed.notify_all()

    def finish(self, error: Exception | None) -> None:
        """Say to the job that the thread ends, and with which error; None: at the end of the file."""
        with self._changed:
            self._done, self._error = True, error
            self._changed.notify_all()

    def _has_news(self) -> bool:
        hungry = self._reading and not self._bytes and not self._ended
        return hungry or self._done or len(self._frames) >= _MOST_FRAMES
