"""tasks.diarization.*: who speaks when in a recording."""

from contextlib import aclosing
from typing import Annotated

from app.delivery.delivery import TaskDelivery
from app.speech.diarizer import EngineDiarizer
from handlers.given import Given
from schemas.diarization import DiarizationTask


async def diarize(
    task: DiarizationTask,
    delivery: Annotated[TaskDelivery, Given()],
    diarizer: Annotated[EngineDiarizer, Given()],
) -> None:
    """Find the turns of a recording."""
    await delivery.begin(task)
    async with aclosing(diarizer.run(task)) as found:
        async for news in found:
            await delivery.append(news)
