"""What the rest of the service knows of an engine."""

from collections.abc import AsyncGenerator
from typing import Protocol

from app.engines.messages import Job, Loaded, Reply


class Engine(Protocol):
    """Does one job of a kind at a time, and can be stopped at any moment by closing the generator."""

    @property
    def ready(self) -> bool:
        """Whether a model is loaded."""
        ...

    @property
    def loaded(self) -> Loaded | None:
        """Which transcription model is loaded."""
        ...

    async def load(self) -> None:
        """Load the default model ahead of the first task (TaskError)."""
        ...

    def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Yield the replies to a job, the last one last (TaskError)."""
        ...

    async def close(self) -> None:
        """End the engine and all that it holds."""
        ...
