"""Handles granted tasks: a handler for each task type."""

from collections.abc import Awaitable, Callable, Mapping

from faststream.nats import NatsBroker
from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import LiveTask
from natscribe.schemas.transcription import TranscriptionResult, TranscriptionTask
from natscribe.schemas.wire import TaskType

from app.container import Container
from app.speech.diarizer import Diarizer
from app.speech.live.session import LiveTranscriber
from app.speech.recordings.transcriber import Transcriber
from app.tasks.execution.attempt import TaskAttempt
from handlers.dependencies import depends, part
from handlers.task_middlewares import current_attempt, task_middlewares


async def transcribe(
    task: TranscriptionTask,
    attempt: TaskAttempt = depends(current_attempt),
    transcriber: Transcriber = part(lambda worker: worker.transcriber),
) -> TranscriptionResult:
    """Transcribe a recording, from the checkpoint of earlier attempts."""
    return await transcriber.transcribe(task, attempt.checkpoint, attempt.append)


async def diarize(
    task: DiarizationTask,
    attempt: TaskAttempt = depends(current_attempt),
    diarizer: Diarizer = part(lambda worker: worker.diarizer),
) -> DiarizationResult:
    """Detect who speaks when in a recording."""
    return await diarizer.diarize(task, attempt.append)


async def transcribe_live(
    task: LiveTask,
    attempt: TaskAttempt = depends(current_attempt),
    live_transcriber: LiveTranscriber = part(lambda worker: worker.live_transcriber),
) -> TranscriptionResult:
    """Transcribe audio while it is being published."""
    return await live_transcriber.transcribe(task, attempt.checkpoint, attempt.append)


HANDLERS: Mapping[TaskType, Callable[..., Awaitable[Result]]] = {  # `...`: handlers differ in their parameters
    TaskType.TRANSCRIPTION: transcribe,
    TaskType.DIARIZATION: diarize,
    TaskType.LIVE: transcribe_live,
}


def subscribe_to_grants(broker: NatsBroker, container: Container, *, ack_wait: float) -> None:
    """Declare the task slots of a worker on its broker, which has not started.

    `ack_wait`: JetStream redelivers a task this many seconds after the last heartbeat of its worker.
    """
    middlewares = task_middlewares(container, ack_wait=ack_wait)
    for slot in container.slots.slots:
        slot.subscribe(broker, container.read_grant, container.names, HANDLERS, *middlewares)
