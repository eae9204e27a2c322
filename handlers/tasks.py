"""tasks.*: the handlers of tasks, one for each kind of queue, and the middleware around them."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any

from faststream import BaseMiddleware, StreamMessage
from nats.aio.msg import Msg
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.live import LiveTask
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Queue

from app.execution.task_run import Execution, TaskRun
from app.live.transcriber import LiveTranscriber
from app.speech.diarizer import Diarizer
from app.speech.transcriber import Transcriber
from handlers.dependencies import FromContext


class TaskRunMiddleware(BaseMiddleware[Any, Any]):  # `Any`: FastStream's type parameters
    """Starts a task run for each delivery; the handler finds it in FastStream's context, as `task_run`."""

    execution = "execution"  # its name in the context

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> None:
        """Call the handler in a new task run, which settles the message."""
        execution: Execution = self.context.get(self.execution)
        task_run = TaskRun(execution, msg.raw_message)
        with self.context.scope("task_run", task_run):
            await task_run.work(partial(call_next, msg))


class LiveTaskRunMiddleware(TaskRunMiddleware):
    """Starts a task run for each delivery of a live task."""

    execution = "live_execution"


async def transcribe(
    task: TranscriptionTask,
    task_run: Annotated[TaskRun, FromContext()],
    transcriber: Annotated[Transcriber, FromContext()],
) -> None:
    """Transcribe a recording from the checkpoint on; append each update to the task's log, then publish the result."""
    attempt = await task_run.begin(task)
    await attempt.publish(await transcriber.transcribe(task, attempt.checkpoint, attempt.append))


async def diarize(
    task: DiarizationTask,
    task_run: Annotated[TaskRun, FromContext()],
    diarizer: Annotated[Diarizer, FromContext()],
) -> None:
    """Find the turns of a recording; append each update to the task's log, then publish the result."""
    attempt = await task_run.begin(task)
    await attempt.publish(await diarizer.diarize(task, attempt.append))


async def transcribe_live(
    task: LiveTask,
    task_run: Annotated[TaskRun, FromContext()],
    live_transcriber: Annotated[LiveTranscriber, FromContext()],
) -> None:
    """Transcribe live audio from the checkpoint to its end; append each update to the log, then publish the result."""
    attempt = await task_run.begin(task)
    await attempt.publish(await live_transcriber.transcribe(task, attempt.checkpoint, attempt.append))


HANDLERS: Mapping[Queue, Callable[..., Awaitable[None]]] = {  # `...`: handlers differ in their parameters
    Queue.TRANSCRIPTION: transcribe,
    Queue.DIARIZATION: diarize,
    Queue.LIVE: transcribe_live,
}
