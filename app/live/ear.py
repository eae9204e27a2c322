"""The ear: has the listening process hear the sound of live streams, one short job after the other."""

import asyncio
from contextvars import Context

from natscribe.schemas.errors import ErrorCode

from app.cancellation import discard_all
from app.engines.engine import Engine, answer
from app.engines.messages import Forget, Hear, Heard
from app.errors import TransientError

LONGEST_JOB_S = 30.0  # a process that takes longer hangs

HANGS = "The process that hears live sound did not answer: the service starts it again."


class Ear:
    """Hears live streams; the process holds what each stream has been so far.

    Stopping a job kills the process, and all streams with it. So a job goes on when nobody waits for it any longer.
    """

    def __init__(self, engine: Engine, *, longest_job_s: float = LONGEST_JOB_S) -> None:
        self._engine = engine
        self._longest_job_s = longest_job_s
        self._jobs: set[asyncio.Task[Heard]] = set()

    async def hear(self, job: Hear) -> Heard:
        """Hear more of a stream.

        Raises:
            TaskError: The sound cannot be read, or the engine failed.
        """
        return await asyncio.shield(self._begin(job))

    def forget(self, stream: str) -> None:
        """Free what the process holds of a stream, soon."""
        self._begin(Forget(stream=stream))

    async def close(self) -> None:
        """Stop what goes on."""
        await discard_all(self._jobs)

    def _begin(self, job: Hear | Forget) -> asyncio.Task[Heard]:
        work = asyncio.create_task(self._answered(job), context=Context() if isinstance(job, Forget) else None)
        self._jobs.add(work)
        work.add_done_callback(self._end)
        return work

    def _end(self, work: asyncio.Task[Heard]) -> None:
        self._jobs.discard(work)
        if not work.cancelled():
            work.exception()  # whoever waits gets it, too

    async def _answered(self, job: Hear | Forget) -> Heard:
        try:
            async with asyncio.timeout(self._longest_job_s):
                return await answer(self._engine, job, Heard)
        except TimeoutError as error:
            raise TransientError(ErrorCode.ENGINE_FAILED, HANGS) from error
