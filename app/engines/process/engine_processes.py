"""The engine of a worker as five child processes, which run at the same time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from natscribe.schemas.errors import ErrorCode

from app.engines.engine import run_job
from app.engines.messages import (
    CloseLiveStream,
    Diarize,
    FindPersons,
    FindWindows,
    Job,
    Load,
    Loaded,
    LoadVad,
    ProcessLiveAudio,
    RedactAudio,
    Reply,
    Transcribe,
    VadLoaded,
)
from app.engines.process.child_process import EngineProcess
from app.runtime.cancellation import StopScope, discard_all, drop_error
from app.runtime.errors import TransientError
from app.settings import Settings

_MAX_WINDOW_BYTES = 2 * 1024 * 1024  # of a reply of the window detector; a window of 20 s takes 0.85 MB in base64
MAX_LIVE_JOB_S = 60.0  # a job of a live stream takes a few milliseconds, and longer only where the engine hangs


class EngineProcesses:
    """The engine of a worker: five processes.

    They detect windows (and redact audio), process live streams, transcribe, diarize, and find names of persons.

    A process starts with its first job. The window detector waits until its replies are read, so that a worker never
    has all windows of a recording in memory.
    """

    def __init__(self, settings: Settings) -> None:
        self._window_detector = EngineProcess(settings, longest_line=_MAX_WINDOW_BYTES)
        self._live_detector = EngineProcess(settings)
        self._transcriber = EngineProcess(settings)
        self._diarizer = EngineProcess(settings)
        self._person_finder = EngineProcess(settings)
        self._live_jobs: set[asyncio.Task[Reply]] = set()
        self._live_lock = asyncio.Lock()  # held by the job that runs: only its own time is limited

    @property
    def loaded(self) -> Loaded | None:
        """The transcription model that is loaded; None if there is none: then no task can start."""
        return self._transcriber.loaded

    async def load(self) -> None:
        """Load the configured model and the voice activity detector, so that the first task starts quickly.

        Raises:
            TaskError: One of them cannot be loaded; the other is loaded nevertheless.
        """
        loads = run_job(self, Load(), Loaded), run_job(self, LoadVad(), VadLoaded)
        for outcome in await asyncio.gather(*loads, return_exceptions=True):  # if one load fails, the other continues
            if isinstance(outcome, BaseException):
                raise outcome

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Run a job and yield its replies; closing the generator before the last reply kills the job's process at once.

        A job of a live stream continues instead, because its process also runs the other live streams.

        Raises:
            TaskError: The job failed.
        """
        match job:
            case ProcessLiveAudio() | CloseLiveStream():
                return self._run_shielded(job)
            case LoadVad() | FindWindows() | RedactAudio():
                return self._window_detector.run(job)
            case Load() | Transcribe():
                return self._transcriber.run(job)
            case Diarize():
                return self._diarizer.run(job)
            case FindPersons():
                return self._person_finder.run(job)

    async def close(self) -> None:
        """Kill all processes, even in the middle of a job; a later job would start its process again."""
        await discard_all(list(self._live_jobs))
        detectors = self._window_detector, self._live_detector
        processes = *detectors, self._transcriber, self._diarizer, self._person_finder
        await asyncio.gather(*(process.close() for process in processes))

    async def _run_shielded(self, job: ProcessLiveAudio | CloseLiveStream) -> AsyncGenerator[Reply, None]:
        task = asyncio.create_task(self._run_live(job))
        self._live_jobs.add(task)
        try:
            yield await asyncio.shield(task)
        finally:
            task.add_done_callback(self._live_jobs.discard)
            task.add_done_callback(drop_error)

    async def _run_live(self, job: ProcessLiveAudio | CloseLiveStream) -> Reply:
        message = "The engine process of live streams hangs, and starts again."
        hangs = TransientError(ErrorCode.ENGINE_FAILED, message)
        async with (
            self._live_lock,
            StopScope(hangs, after=MAX_LIVE_JOB_S),
            aclosing(self._live_detector.run(job)) as replies,
        ):
            return await anext(replies)
