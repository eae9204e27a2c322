"""tasks.transcription.*: the text of a recording."""

from contextlib import aclosing
from typing import Annotated

from handlers.given import Given
from handlers.ports import Delivery, Transcriber
from schemas.transcription import TranscriptionTask


async def transcribe(
    task: TranscriptionTask,
    delivery: Annotated[Delivery, Given()],
    transcriber: Annotated[Transcriber, Given()],
) -> None:
    """Transcribe a recording, from where the last attempt ended."""
    checkpoint = await delivery.begin(task)
    async with aclosing(transcriber.run(task, checkpoint)) as found:
        async for news in found:
            await delivery.append(news)
