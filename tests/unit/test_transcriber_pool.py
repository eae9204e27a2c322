"""Which transcriber gets which batch."""

import asyncio

from app.engines.messages import Transcribe, WindowsTranscribed, WindowTranscribed
from app.speech.pipeline import Batch, TranscriberPool
from tests.fakes.engine import MODEL

JOB = Transcribe(windows=[])


class GatedTranscriber:
    """Answers when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        self.asked += 1
        await self.may_answer.wait()
        found = [WindowTranscribed(segments=[]) for _ in job.windows]
        return WindowsTranscribed(language="en", found=found, seconds=1, model=MODEL)


async def test_the_own_engine_is_asked_before_helpers() -> None:
    # Given a worker and a helper that are both done with a batch, the helper first
    own, helper = GatedTranscriber(), GatedTranscriber()
    pool = TranscriberPool(own.transcribe)
    pool.add(helper.transcribe)
    for _ in (own, helper):
        pool.start(JOB, Batch([]))
    helper.may_answer.set()
    await asyncio.wait(pool.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(list(pool.finished())) == 1
    own.may_answer.set()
    await asyncio.wait(pool.tasks)
    assert len(list(pool.finished())) == 1
    # When there is one more batch
    pool.start(JOB, Batch([]))
    await asyncio.wait(pool.tasks)
    # Then the helper is not asked for it
    assert (own.asked, helper.asked) == (2, 1)
