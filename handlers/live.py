"""tasks.live.*: tasks that transcribe sound while it is published."""

from typing import Annotated

from natscribe.schemas import subjects
from natscribe.schemas.live import LiveTask
from natscribe.schemas.wire import Queue

from app.execution.task_run import TaskRun
from app.live.transcriber import LiveTranscriber
from handlers.dependencies import FromContext
from handlers.routes import Routes

router = Routes()


@router.subscriber(subjects.tasks_channel(Queue.LIVE), no_reply=True)
async def transcribe_live(
    task: LiveTask,
    task_run: Annotated[TaskRun, FromContext()],
    live_transcriber: Annotated[LiveTranscriber, FromContext()],
) -> None:
    """Transcribe sound from the checkpoint on to its end; append each update to the log, then publish the result."""
    attempt = await task_run.begin(task)
    await attempt.publish(await live_transcriber.transcribe(task, attempt.checkpoint, attempt.append))
