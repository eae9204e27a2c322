"""An engine that finds no text for a part of the speech."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from natscribe.schemas.transcription import Interval

from app.engines.messages import Job, Reply, WindowsTranscribed
from tests.fakes.engine import FakeEngine

MISSED = Interval(start=2, end=4.5)


class MissingWordsEngine(FakeEngine):
    """Misses the same words in each window."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        async with aclosing(super().run(job)) as replies:
            async for reply in replies:
                if isinstance(reply, WindowsTranscribed):
                    texts = [each.model_copy(update={"untranscribed": [MISSED]}) for each in reply.texts]
                    yield reply.model_copy(update={"texts": texts})
                else:
                    yield reply
