"""The engine as three child processes, which listen, transcribe and diarize at the same time."""

import asyncio
from collections.abc import AsyncGenerator

from app.engines.engine import answer
from app.engines.messages import Diarize, Job, Listen, Load, Loaded, Prepare, Prepared, Reply, Transcribe
from app.engines.process.child_process import EngineProcess
from app.settings import Settings

_LONGEST_WINDOW_BYTES = 2 * 1024 * 1024  # longest reply of the listener; a window of 20 s takes 0.85 MB in base64


class EngineProcesses:
    """Runs each job in the process for its kind.

    Memory stays flat, because the listener waits until its replies are read.
    """

    def __init__(self, settings: Settings) -> None:
        self._listener = EngineProcess(settings, longest_line=_LONGEST_WINDOW_BYTES)
        self._transcriber = EngineProcess(settings)
        self._diarizer = EngineProcess(settings)

    @property
    def ready(self) -> bool:
        """Whether a transcription model is loaded, so that a task can begin."""
        return self._transcriber.ready

    @property
    def loaded(self) -> Loaded | None:
        """The transcription model that is loaded, if any."""
        return self._transcriber.loaded

    async def load(self) -> None:
        """Load the service's own model and the voice detector, so that the first task starts quickly.

        Raises:
            TaskError: The model cannot be loaded.
        """
        loads = answer(self, Load(), Loaded), answer(self, Prepare(), Prepared)
        for outcome in await asyncio.gather(*loads, return_exceptions=True):  # if one load fails, the other goes on
            if isinstance(outcome, BaseException):
                raise outcome

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Run a job and yield its replies; closing the generator before the last reply kills the job's process at once.

        Raises:
            TaskError: The job failed.
        """
        return self._process_for(job).run(job)

    async def close(self) -> None:
        """Kill all processes, even in the middle of a job."""
        await asyncio.gather(self._listener.close(), self._transcriber.close(), self._diarizer.close())

    def _process_for(self, job: Job) -> EngineProcess:
        match job:
            case Prepare() | Listen():
                return self._listener
            case Load() | Transcribe():
                return self._transcriber
            case Diarize():
                return self._diarizer
