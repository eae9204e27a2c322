"""The source of a run over a recording: it yields the windows, one after the other."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from natscribe.schemas.progress import Stage
from natscribe.schemas.windows import Window

from app.engines.engine import Engine
from app.engines.messages import (
    FindWindows,
    RecordingOpened,
    StageAdvanced,
    WindowFound,
    WindowSearchAdvanced,
    WindowSearchDone,
)


class RecordingWindows:
    """The source of the windows of a recording, or of one of its channels, from second `listen.start_at` on.

    `duration` is the length of the recording in seconds, as far as known; `channels` is the number of its channels, and
    `channel` the one in which the windows lie (null: all channels mixed, or the recording is not opened yet).
    """

    def __init__(self, engine: Engine, listen: FindWindows) -> None:
        self._engine = engine
        self._listen = listen
        self._reached = listen.start_at  # the second up to which everything was yielded
        self.duration = 0.0
        self.channels = 1
        self.channel: int | None = None

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Yield each window, and progress where the recording has no speech; the engine reads only a little ahead.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        begun, windows_in_block = False, False
        async with aclosing(self._engine.run(self._listen)) as replies:
            async for reply in replies:
                match reply:
                    case RecordingOpened():
                        self.duration, self.channels = reply.duration_seconds, reply.channels
                        self.channel = reply.channel
                        yield self._advanced(Stage.DECODING)
                    case WindowFound():
                        if not begun:
                            yield self._advanced(Stage.TRANSCRIBING)
                        begun, windows_in_block, self._reached = True, True, reply.window.end
                        yield reply.window
                    case WindowSearchAdvanced():
                        self.duration = max(self.duration, reply.seconds)  # the header may give a shorter duration
                        if not windows_in_block and reply.complete_until > self._reached:
                            begun, self._reached = True, reply.complete_until
                            yield self._advanced(Stage.TRANSCRIBING)
                        windows_in_block = False
                    case WindowSearchDone():
                        self.duration = reply.duration_seconds

    def _advanced(self, stage: Stage) -> StageAdvanced:
        return StageAdvanced(stage=stage, processed_seconds=self._reached, duration_seconds=self.duration)
