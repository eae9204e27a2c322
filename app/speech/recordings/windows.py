"""The windows of a recording, which the engine detects one after the other: the input of a `WindowPipeline`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from natscribe.schemas.progress import Stage

from app.engines.engine import Engine
from app.engines.messages import (
    FindWindows,
    RecordingOpened,
    StageAdvanced,
    WindowFound,
    WindowSearchAdvanced,
    WindowSearchDone,
)
from app.engines.windows import Window


class RecordingWindows:
    """Detects the windows of a recording, or of one of its channels, with a `FindWindows` job in the engine.

    A window is up to 20 s of speech. Three attributes are updated while the job runs. `duration`: the duration of the
    recording in seconds, as far as known. `channels`: the number of its channels. `channel`: the channel in which
    windows are detected; None if all channels are mixed, and until the recording is opened.
    """

    def __init__(self, engine: Engine, job: FindWindows) -> None:
        self._engine = engine
        self._job = job
        self._yielded_until = job.start_at  # seconds
        self.duration = 0.0
        self.channels = 1
        self.channel: int | None = None

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Run the job; yield the windows of speech that the engine detects, and reports of its progress.

        Progress is reported at the start, and where the recording contains no speech. The engine is only a few windows
        ahead of the caller.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        started, windows_in_block = False, False
        async with aclosing(self._engine.run(self._job)) as replies:
            async for reply in replies:
                match reply:
                    case RecordingOpened():
                        self.duration, self.channels = reply.duration_seconds, reply.channels
                        self.channel = reply.channel
                        yield self._progress(Stage.DECODING)
                    case WindowFound():
                        if not started:
                            yield self._progress(Stage.TRANSCRIBING)
                        started, windows_in_block, self._yielded_until = True, True, reply.window.end
                        yield reply.window
                    case WindowSearchAdvanced():
                        self.duration = max(self.duration, reply.seconds)  # the header may give a shorter duration
                        if not windows_in_block and reply.complete_until > self._yielded_until:
                            started, self._yielded_until = True, reply.complete_until
                            yield self._progress(Stage.TRANSCRIBING)
                        windows_in_block = False
                    case WindowSearchDone():
                        self.duration = reply.duration_seconds

    def _progress(self, stage: Stage) -> StageAdvanced:
        return StageAdvanced(stage=stage, processed_seconds=self._yielded_until, duration_seconds=self.duration)
