"""tasks.diarization.*: who speaks when in a recording."""

from contextlib import aclosing
from typing import Annotated

from app.execution.task_run import TaskDelivery
from app.speech.diarizer import Diarizer
from handlers.dependencies import FromContext
from schemas.diarization import DiarizationTask


async def diarize(
    task: DiarizationTask,
    delivery: Annotated[TaskDelivery, FromContext()],
    diarizer: Annotated[Diarizer, FromContext()],
) -> None:
    """Find the turns of a recording."""
    await delivery.begin(task)
    async with aclosing(diarizer.run(task)) as updates:
        async for update in updates:
            await delivery.append(update)
