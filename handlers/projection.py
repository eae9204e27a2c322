"""progress.*, results.*: show what happened to those who would rather read keys."""

from typing import Annotated

from faststream.exceptions import NackMessage

from handlers.errors import PassingError
from handlers.given import Given, Message
from handlers.ports import Projection
from schemas.diarization import DiarizationResult
from schemas.progress import ProgressEvent
from schemas.transcription import TranscriptionResult

RETRY_SECONDS = 2.0


async def progressed(event: ProgressEvent, message: Message, projection: Annotated[Projection, Given()]) -> None:
    """Show a task's latest event."""
    try:
        await projection.progressed(event, message.headers, message.raw_message.metadata.sequence.stream)
    except PassingError as error:
        raise NackMessage(delay=RETRY_SECONDS) from error


async def ended(result: TranscriptionResult | DiarizationResult, projection: Annotated[Projection, Given()]) -> None:
    """Show a task's result."""
    try:
        await projection.ended(result)
    except PassingError as error:
        raise NackMessage(delay=RETRY_SECONDS) from error
