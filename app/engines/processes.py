"""The engine as three processes, so that listening, transcribing and diarizing go on beside each other."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.engines.messages import Diarize, Job, Listen, Load, Loaded, Prepare, Reply, Transcribe
from app.engines.process import EngineProcess
from app.settings import Settings

_LONGEST_WINDOW = 2 * 1024 * 1024  # bytes of a line: the longest window as base64 is 1.3 MB


class EngineProcesses:
    """Gives each job to the process of its kind; memory stays flat because the listener waits for who reads it."""

    def __init__(self, settings: Settings) -> None:
        self._listener = EngineProcess(settings, longest_line=_LONGEST_WINDOW)
        self._transcriber = EngineProcess(settings)
        self._diarizer = EngineProcess(settings)

    @property
    def ready(self) -> bool:
        """Whether a transcription model is loaded, so that a task can begin."""
        return self._transcriber.ready

    @property
    def loaded(self) -> Loaded | None:
        """Which transcription model is loaded."""
        return self._transcriber.loaded

    async def load(self) -> None:
        """Make the first task quick: load the service's own model and the voice detector (TaskError)."""
        jobs = (_finish(self.run(job)) for job in (Load(), Prepare()))
        for failure in await asyncio.gather(*jobs, return_exceptions=True):  # neither ends the other
            if failure is not None:
                raise failure

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Do a job; closing or cancelling this before its last reply kills its process at once (TaskError)."""
        return self._process_for(job).run(job)

    async def close(self) -> None:
        """End all processes, whatever they are doing."""
        await asyncio.gather(self._listener.close(), self._transcriber.close(), self._diarizer.close())

    def _process_for(self, job: Job) -> EngineProcess:
        match job:
            case Prepare() | Listen():
                return self._listener
            case Load() | Transcribe():
                return self._transcriber
            case Diarize():
                return self._diarizer


async def _finish(replies: AsyncGenerator[Reply, None]) -> None:
    async with aclosing(replies):
        async for _ in replies:
            pass
