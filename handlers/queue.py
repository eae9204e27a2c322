"""accepted.tasks.*: what the task stream has stored, the source of `queued`."""

from typing import Annotated

from app.queue.accepted_tasks import AcceptedTasks
from handlers.dependencies import FromContext, Message
from schemas.diarization import DiarizationTask
from schemas.transcription import TranscriptionTask


async def accept_transcription(
    task: TranscriptionTask, message: Message, accepted_tasks: Annotated[AcceptedTasks, FromContext()]
) -> None:
    """Open the log of a transcription task."""
    await accepted_tasks.accept(task, message.headers)


async def accept_diarization(
    task: DiarizationTask, message: Message, accepted_tasks: Annotated[AcceptedTasks, FromContext()]
) -> None:
    """Open the log of a diarization task."""
    await accepted_tasks.accept(task, message.headers)
