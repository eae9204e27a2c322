"""tasks.diarization.*: who speaks when in a recording."""

from contextlib import aclosing
from typing import Annotated

from handlers.given import Given
from handlers.ports import Delivery, Diarizer
from schemas.diarization import DiarizationTask


async def diarize(
    task: DiarizationTask,
    delivery: Annotated[Delivery, Given()],
    diarizer: Annotated[Diarizer, Given()],
) -> None:
    """Find the turns of a recording."""
    await delivery.begin(task)
    async with aclosing(diarizer.run(task)) as found:
        async for news in found:
            await delivery.append(news)
