"""The queue between the listener, which finds windows, and the batches, which take them."""

from collections import deque
from itertools import takewhile

from app.engines.messages import Listened, ListeningDone, RecordingOpened, Reply, WindowFound, WindowSound


class FoundWindows:
    """The found windows that are in no batch yet, and the silences between them, in the order of the recording.

    `duration` is the length of the recording in seconds, as far as known; `channels` is the number of its channels, and
    `channel` the one in which the windows lie (null: all channels mixed).
    """

    def __init__(self) -> None:
        self.duration = 0.0
        self.channels = 1
        self.channel: int | None = None
        self.complete = False  # whether the listener has reached the end of the recording
        self._found: deque[WindowSound | float] = deque()  # a number is a silence: the second at which it ends
        self._windows_in_block = False

    def __len__(self) -> int:
        return len(self._found)

    def receive(self, reply: Reply) -> None:
        """Add the window or silence in a reply of the listener, and note the duration and channels."""
        match reply:
            case RecordingOpened():
                self.duration, self.channels, self.channel = reply.duration_seconds, reply.channels, reply.channel
            case WindowFound():
                self._found.append(reply.window)
                self._windows_in_block = True
            case Listened():
                self.duration = max(self.duration, reply.seconds)  # the header may give a shorter duration
                if not self._windows_in_block:
                    self._add_silence(reply.settled)
                self._windows_in_block = False
            case ListeningDone():
                self.duration = reply.duration_seconds
                self.complete = True

    def take_silence(self) -> float | None:
        """Remove the silence before the next window, and return the second at which it ends; None without a silence."""
        silence = self._found[0] if self._found else None
        if not isinstance(silence, float):
            return None
        self._found.popleft()
        return silence

    def take_batch(self, size: int) -> list[WindowSound]:
        """Remove and return the next `size` windows, or fewer if a silence or the recording's end follows them.

        Return an empty list if there are fewer windows so far, and more may follow without a silence.
        """
        windows = list(takewhile(lambda each: isinstance(each, WindowSound), self._found))
        no_more = self.complete or len(windows) < len(self._found)
        if len(windows) < size and not no_more:
            return []
        return [each for _ in windows[:size] if isinstance(each := self._found.popleft(), WindowSound)]

    def _add_silence(self, until: float) -> None:
        if self._found and isinstance(self._found[-1], float):
            self._found.pop()
        self._found.append(until)
