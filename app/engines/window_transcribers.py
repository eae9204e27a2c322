"""Window transcribers: whoever can transcribe a batch of windows, this worker's own engine or another worker's."""

from contextlib import aclosing
from typing import Protocol

from app.engines.engine import Engine
from app.engines.messages import Job, Load, Loaded, Transcribe, WindowsTranscribed
from schemas.wire import Model


class HelperLostError(Exception):
    """Another worker will not do its batch: somebody else has to, and nothing else is wrong."""


class WindowTranscriber(Protocol):
    """Transcribes a batch at a time."""

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        """What is said in the windows of a batch (TaskError, HelperLostError)."""
        ...


class OwnEngine:
    """This worker's own engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        """What is said in the windows of a batch (TaskError)."""
        async with aclosing(self._engine.run(job)) as replies:
            async for reply in replies:
                if isinstance(reply, WindowsTranscribed):
                    return reply
        raise _silent(job)


async def load(engine: Engine, job: Load) -> Model:
    """Which model the engine has loaded then (TaskError)."""
    async with aclosing(engine.run(job)) as replies:
        async for reply in replies:
            if isinstance(reply, Loaded):
                return reply.model
    raise _silent(job)


def _silent(job: Job) -> RuntimeError:
    return RuntimeError(f"the engine did not answer a job: {job.type}")
