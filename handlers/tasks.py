"""Handles granted tasks: a handler for each lane (type of task)."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

from faststream.middlewares import BaseMiddleware
from faststream.nats import NatsBroker
from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import LiveTask
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.transcription import TranscriptionResult, TranscriptionTask
from natscribe.schemas.wire import Lane

from app.execution.attempt import TaskAttempt
from app.jetstream.slots import Slots
from app.live.transcriber import LiveTranscriber
from app.queue.granted_task import GrantReader
from app.queue.task_slots import TaskSlot
from app.speech.diarizer import Diarizer
from app.speech.transcriber import Transcriber
from handlers.dependencies import FromContext


async def transcribe(
    task: TranscriptionTask,
    attempt: Annotated[TaskAttempt, FromContext()],
    transcriber: Annotated[Transcriber, FromContext()],
) -> TranscriptionResult:
    """Transcribe a recording: report progress, publish segments as they are transcribed, then the result."""
    return await transcriber.transcribe(task, attempt.checkpoint, attempt.append)


async def diarize(
    task: DiarizationTask,
    attempt: Annotated[TaskAttempt, FromContext()],
    diarizer: Annotated[Diarizer, FromContext()],
) -> DiarizationResult:
    """Detect who speaks when in a recording: report progress, then publish the result."""
    return await diarizer.diarize(task, attempt.append)


async def transcribe_live(
    task: LiveTask,
    attempt: Annotated[TaskAttempt, FromContext()],
    live_transcriber: Annotated[LiveTranscriber, FromContext()],
) -> TranscriptionResult:
    """Transcribe audio while it is being published: publish segments, and the result at the end."""
    return await live_transcriber.transcribe(task, attempt.checkpoint, attempt.append)


HANDLERS: Mapping[Lane, Callable[..., Awaitable[Result]]] = {  # `...`: handlers differ in their parameters
    Lane.TRANSCRIPTION: transcribe,
    Lane.DIARIZATION: diarize,
    Lane.LIVE: transcribe_live,
}


def subscribe_to_grants(
    broker: NatsBroker,
    read: GrantReader,
    names: StreamNames,
    middlewares: Sequence[Callable[..., BaseMiddleware[Any, Any]]],  # `...`, `Any`: as FastStream types them
    *,
    live_tasks: int,
) -> tuple[TaskSlot, ...]:
    """Declare the task slots of a worker, one for recordings and several for live tasks, on a broker before its start.

    `middlewares`: around the handlers, the outermost first. `live_tasks`: how many live tasks the worker runs at the
    same time.
    """
    slots = (TaskSlot(Slots.RECORDINGS), *(TaskSlot(Slots.LIVE) for _ in range(live_tasks)))
    for slot in slots:
        slot.subscribe(broker, read, names, HANDLERS, *middlewares)
    return slots
