"""Ears: whoever can hear a batch of windows, this worker's own engine or another worker's."""

from contextlib import aclosing
from typing import Protocol

from app.engines.engine import Engine
from app.engines.messages import Hear, Heard, Job, Load, Loaded
from schemas.wire import Model


class EarLostError(Exception):
    """Somebody else was to hear a batch and will not: it is to be heard again, and nothing else is wrong."""


class Ear(Protocol):
    """Hears a batch at a time."""

    async def hear(self, job: Hear) -> Heard:
        """What is said in the windows of a batch (TaskError, EarLostError)."""
        ...


class EngineEar:
    """This worker's own engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def hear(self, job: Hear) -> Heard:
        """What is said in the windows of a batch (TaskError)."""
        async with aclosing(self._engine.run(job)) as replies:
            async for reply in replies:
                if isinstance(reply, Heard):
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
