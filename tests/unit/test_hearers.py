"""Who hears which batch."""

import asyncio

from app.engines.messages import Hear, Heard
from app.speech.hearers import Batch, Hearers
from tests.fakes.engine import MODEL

JOB = Hear(windows=[])


class GatedEar:
    """Hears when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Event()

    async def hear(self, job: Hear) -> Heard:
        self.asked += 1
        await self.may_answer.wait()
        return Heard(language="en", found=[[] for _ in job.windows], seconds=1, model=MODEL)


async def test_the_own_ear_is_asked_before_those_of_others() -> None:
    # Given a worker and a helper that are both done with a batch, the helper first
    own, helper = GatedEar(), GatedEar()
    hearers = Hearers(own)
    hearers.join(helper)
    for _ in (own, helper):
        hearers.hear(JOB, Batch([]))
    helper.may_answer.set()
    await asyncio.wait(hearers.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(list(hearers.heard())) == 1
    own.may_answer.set()
    await asyncio.wait(hearers.tasks)
    assert len(list(hearers.heard())) == 1
    # When there is one more batch
    hearers.hear(JOB, Batch([]))
    await asyncio.wait(hearers.tasks)
    # Then nobody else is troubled with it
    assert (own.asked, helper.asked) == (2, 1)
