"""The engine as four child processes, which work at the same time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from natscribe.schemas.errors import ErrorCode

from app.cancellation import Stop, discard_all
from app.engines.engine import run_job
from app.engines.messages import (
    CloseLiveStream,
    Diarize,
    FindWindows,
    Job,
    Load,
    Loaded,
    LoadVad,
    ProcessLiveAudio,
    Reply,
    Transcribe,
    VadLoaded,
)
from app.engines.process.child_process import EngineProcess
from app.errors import TransientError
from app.settings import Settings

_LONGEST_WINDOW_BYTES = 2 * 1024 * 1024  # longest reply of the listener; a window of 20 s takes 0.85 MB in base64
_LONGEST_HEARING_S = 60.0  # a job of a live stream takes a few milliseconds, and longer only where the engine hangs


class EngineProcesses:
    """The engine: one process listens to recordings, one hears live streams, one transcribes, one diarizes.

    A process starts with its first job. The listener waits until its replies are read, so that a worker never holds
    all windows of a recording.
    """

    def __init__(self, settings: Settings) -> None:
        self._listener = EngineProcess(settings, longest_line=_LONGEST_WINDOW_BYTES)
        self._live_listener = EngineProcess(settings)
        self._transcriber = EngineProcess(settings)
        self._diarizer = EngineProcess(settings)
        self._hearing: set[asyncio.Task[Reply]] = set()
        self._hears = asyncio.Lock()  # held by the job that runs: only its own time is limited

    @property
    def ready(self) -> bool:
        """Whether a transcription model is loaded, so that a task can begin."""
        return self._transcriber.ready

    @property
    def loaded(self) -> Loaded | None:
        """The transcription model that is loaded; None if there is none."""
        return self._transcriber.loaded

    async def load(self) -> None:
        """Load the configured model and the voice detector, so that the first task starts quickly.

        Raises:
            TaskError: One of them cannot be loaded; the other is loaded nevertheless.
        """
        loads = run_job(self, Load(), Loaded), run_job(self, LoadVad(), VadLoaded)
        for outcome in await asyncio.gather(*loads, return_exceptions=True):  # if one load fails, the other goes on
            if isinstance(outcome, BaseException):
                raise outcome

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Run a job and yield its replies; closing the generator before the last reply kills the job's process at once.

        Only jobs of live streams go on, because their process holds the other live streams, too.

        Raises:
            TaskError: The job failed.
        """
        match job:
            case ProcessLiveAudio() | CloseLiveStream():
                return self._hear(job)
            case LoadVad() | FindWindows():
                return self._listener.run(job)
            case Load() | Transcribe():
                return self._transcriber.run(job)
            case Diarize():
                return self._diarizer.run(job)

    async def close(self) -> None:
        """Kill all processes, even in the middle of a job; the next job starts its process again."""
        await discard_all(list(self._hearing))
        processes = self._listener, self._live_listener, self._transcriber, self._diarizer
        await asyncio.gather(*(process.close() for process in processes))

    async def _hear(self, job: ProcessLiveAudio | CloseLiveStream) -> AsyncGenerator[Reply, None]:
        hearing = asyncio.create_task(self._heard(job))
        self._hearing.add(hearing)
        try:
            yield await asyncio.shield(hearing)
        finally:
            hearing.add_done_callback(self._drop)

    async def _heard(self, job: ProcessLiveAudio | CloseLiveStream) -> Reply:
        message = "The engine process that hears live sound hangs, and starts again."
        async with (
            self._hears,
            Stop(TransientError(ErrorCode.ENGINE_FAILED, message), after=_LONGEST_HEARING_S),
            aclosing(self._live_listener.run(job)) as replies,
        ):
            return await anext(replies)

    def _drop(self, hearing: asyncio.Task[Reply]) -> None:
        self._hearing.discard(hearing)
        if not hearing.cancelled():
            hearing.exception()  # or asyncio would log that nobody has looked at it
