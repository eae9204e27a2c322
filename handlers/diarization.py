"""tasks.diarization.*: tasks that find out who speaks when in a recording."""

from typing import Annotated

from natscribe.schemas import subjects
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.wire import Queue

from app.execution.task_run import TaskRun
from app.speech.diarizer import Diarizer
from handlers.dependencies import FromContext
from handlers.routes import Routes

router = Routes()


@router.subscriber(subjects.tasks_channel(Queue.DIARIZATION), no_reply=True)
async def diarize(
    task: DiarizationTask,
    task_run: Annotated[TaskRun, FromContext()],
    diarizer: Annotated[Diarizer, FromContext()],
) -> None:
    """Find the turns of a recording; append each update to the task's log, then publish the result."""
    attempt = await task_run.begin(task)
    await attempt.publish(await diarizer.diarize(task, attempt.append))
