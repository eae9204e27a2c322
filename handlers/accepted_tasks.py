"""accepted.tasks.*: copies of the tasks that the task stream has stored."""

from typing import Annotated

from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.transcription import TranscriptionTask

from app.queue.registration import Registration
from handlers.dependencies import FromContext, Message


async def accept_transcription(
    task: TranscriptionTask, message: Message, registration: Annotated[Registration, FromContext()]
) -> None:
    """Append `queued` to the log of a transcription task, unless a worker takes the task at once."""
    await registration.announce(task, message.headers)


async def accept_diarization(
    task: DiarizationTask, message: Message, registration: Annotated[Registration, FromContext()]
) -> None:
    """Append `queued` to the log of a diarization task, unless a worker takes the task at once."""
    await registration.announce(task, message.headers)
