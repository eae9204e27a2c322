"""The interface of an engine, as the rest of the service uses it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol, TypeVar

from app.engines.messages import Job, Loaded, Prepared, Reply, WindowsTranscribed

Answer = TypeVar("Answer", Loaded, Prepared, WindowsTranscribed)


class Engine(Protocol):
    """Does one job of a kind at a time; closing the generator stops the job at any moment."""

    @property
    def ready(self) -> bool:
        """Whether a model is loaded."""
        ...

    @property
    def loaded(self) -> Loaded | None:
        """The transcription model that is loaded."""
        ...

    async def load(self) -> None:
        """Load the default model ahead of the first task.

        Raises:
            TaskError: The model cannot be loaded.
        """
        ...

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Yield the replies to a job, the one that ends it last.

        Raises:
            TaskError: The job failed.
        """
        ...

    async def close(self) -> None:
        """End the engine and all that it holds."""
        ...


async def answer(engine: Engine, job: Job, kind: type[Answer]) -> Answer:
    """Do a job that ends with a reply of this kind, and return that reply.

    Raises:
        TaskError: The job failed.
    """
    async with aclosing(engine.run(job)) as replies:
        async for reply in replies:
            if isinstance(reply, kind):
                return reply
    message = f"the engine did not answer a job: {job.type}"
    raise RuntimeError(message)
