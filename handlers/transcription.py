"""tasks.transcription.*: the text of a recording."""

from contextlib import aclosing
from typing import Annotated

from app.execution.task_run import TaskDelivery
from app.speech.transcriber import Transcriber
from handlers.dependencies import FromContext
from schemas.transcription import TranscriptionTask


async def transcribe(
    task: TranscriptionTask,
    delivery: Annotated[TaskDelivery, FromContext()],
    transcriber: Annotated[Transcriber, FromContext()],
) -> None:
    """Transcribe a recording, from where the last attempt ended."""
    checkpoint = await delivery.begin(task)
    async with aclosing(transcriber.run(task, checkpoint)) as updates:
        async for update in updates:
            await delivery.append(update)
