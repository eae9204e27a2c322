"""The windows that the listener has found and no batch has taken yet, and the silences between them."""

from collections import deque
from itertools import takewhile

from app.engines.messages import Listened, ListeningDone, RecordingOpened, Reply, WindowFound, WindowSound


class FoundWindows:
    """The windows that no batch has taken yet, in order, and the silences between them.

    `duration` is how long the recording is, as far as known; `channels` is how many it has.
    """

    def __init__(self) -> None:
        self.duration = 0.0
        self.channels = 1
        self.complete = False  # the recording's end was reached
        self._found: deque[WindowSound | float] = deque()  # a number: no more speech up to that second
        self._windows_in_block = False

    def __len__(self) -> int:
        return len(self._found)

    def receive(self, reply: Reply) -> None:
        """Add the windows of a reply from the process that finds windows."""
        match reply:
            case RecordingOpened():
                self.duration, self.channels = reply.duration_seconds, reply.channels
            case WindowFound():
                self._found.append(reply.window)
                self._windows_in_block = True
            case Listened():
                self.duration = max(self.duration, reply.seconds)  # the header may promise less
                if not self._windows_in_block:
                    self._add_silence(reply.settled)
                self._windows_in_block = False
            case ListeningDone():
                self.duration = reply.duration_seconds
                self.complete = True

    def take_silence(self) -> float | None:
        """Take a silence that comes before the next window, if one is known: the second at which it ends."""
        silence = self._found[0] if self._found else None
        if not isinstance(silence, float):
            return None
        self._found.popleft()
        return silence

    def take_batch(self, size: int) -> list[WindowSound]:
        """Take `size` windows; fewer where a silence or the end follows, none where more may come."""
        windows = list(takewhile(lambda each: isinstance(each, WindowSound), self._found))
        no_more = self.complete or len(windows) < len(self._found)
        if len(windows) < size and not no_more:
            return []
        return [each for _ in windows[:size] if isinstance(each := self._found.popleft(), WindowSound)]

    def _add_silence(self, until: float) -> None:
        if self._found and isinstance(self._found[-1], float):
            self._found.pop()
        self._found.append(until)
