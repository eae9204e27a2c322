"""The interface of the engine, which runs a worker's jobs: window detection, transcription, diarization and so on."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar

from app.engines.messages import (
    Job,
    LiveAudioProcessed,
    Loaded,
    PersonsFound,
    Reply,
    VadLoaded,
    WindowsTranscribed,
)

FinalReply = TypeVar("FinalReply", LiveAudioProcessed, Loaded, PersonsFound, VadLoaded, WindowsTranscribed)


class Engine(Protocol):
    """Runs jobs of five kinds, one at a time per kind.

    The kinds are window detection, live streams, transcription, diarization and the search for names of persons.

    Windows are the intervals of speech in which a recording is transcribed.
    """

    @property
    def loaded(self) -> Loaded | None:
        """The transcription model that is loaded; None if there is none: then no task can start."""

    async def load(self) -> None:
        """Load the configured model and the voice activity detector before the first task needs them.

        Raises:
            TaskError: The model cannot be loaded.
        """

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Run a job and yield its replies; the last reply ends the job.

        If the caller closes the generator before the last reply, the job stops at once; jobs of live streams go on.

        Raises:
            TaskError: The job failed.
        """

    async def close(self) -> None:
        """Stop the engine, even in the middle of a job; a later job would start it again."""


async def run_job(engine: Engine, job: Job, kind: type[FinalReply]) -> FinalReply:
    """Run a job until it yields a reply of the type `kind`, and return this reply.

    Raises:
        TaskError: The job failed.
        RuntimeError: The engine sent no reply of this type.
    """
    async with aclosing(engine.run(job)) as replies:
        async for reply in replies:
            if isinstance(reply, kind):
                return reply
    message = f"the engine ended a job without its last reply: {job.type}"
    raise RuntimeError(message)
