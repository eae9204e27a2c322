"""The interface of an engine, as the rest of the service uses it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar

from app.engines.messages import Heard, Job, Loaded, Prepared, Reply, WindowsTranscribed

Answer = TypeVar("Answer", Heard, Loaded, Prepared, WindowsTranscribed)


class Engine(Protocol):
    """Runs one job of each kind at a time; closing the generator that `run` returns stops the job at once."""

    @property
    def ready(self) -> bool:
        """Whether a model is loaded."""
        ...

    @property
    def loaded(self) -> Loaded | None:
        """The transcription model that is loaded, if any."""
        ...

    async def load(self) -> None:
        """Load the model that the settings name before the first task needs it.

        Raises:
            TaskError: The model cannot be loaded.
        """
        ...

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Run a job and yield the replies to it; the last reply ends the job.

        Raises:
            TaskError: The job failed.
        """
        ...

    async def close(self) -> None:
        """Stop the engine, even in the middle of a job."""
        ...


async def answer(engine: Engine, job: Job, kind: type[Answer]) -> Answer:
    """Run a job and return its first reply of the type `kind`.

    Raises:
        TaskError: The job failed.
        RuntimeError: The engine sent no such reply.
    """
    async with aclosing(engine.run(job)) as replies:
        async for reply in replies:
            if isinstance(reply, kind):
                return reply
    message = f"the engine did not answer a job: {job.type}"
    raise RuntimeError(message)
