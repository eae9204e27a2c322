"""tasks.transcription.*: tasks that transcribe a recording."""

from typing import Annotated

from natscribe.schemas import subjects
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Queue

from app.execution.task_run import TaskRun
from app.speech.transcriber import Transcriber
from handlers.dependencies import FromContext
from handlers.routes import Routes

router = Routes()


@router.subscriber(subjects.tasks_channel(Queue.TRANSCRIPTION), no_reply=True)
async def transcribe(
    task: TranscriptionTask,
    task_run: Annotated[TaskRun, FromContext()],
    transcriber: Annotated[Transcriber, FromContext()],
) -> None:
    """Transcribe a recording from the checkpoint on; append each update to the task's log, then publish the result."""
    attempt = await task_run.begin(task)
    await attempt.publish(await transcriber.transcribe(task, attempt.checkpoint, attempt.append))
