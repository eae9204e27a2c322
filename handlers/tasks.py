"""Handles granted tasks: a handler for each lane (type of task), and the middleware around them."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, cast

from faststream import BaseMiddleware, StreamMessage
from faststream.nats import NatsBroker
from nats.aio.msg import Msg
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.live import LiveTask
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Lane

from app.execution.delivery import Delivery
from app.execution.processing import process
from app.jetstream.slots import Slots
from app.live.transcriber import LiveTranscriber
from app.queue.granted_task import GrantedTask, GrantReader
from app.queue.task_slots import TaskSlot
from app.speech.diarizer import Diarizer
from app.speech.transcriber import Transcriber
from handlers.dependencies import FromContext


async def transcribe(
    task: TranscriptionTask,
    delivery: Annotated[Delivery, FromContext()],
    transcriber: Annotated[Transcriber, FromContext()],
) -> None:
    """Transcribe a recording: report progress, publish segments as they are transcribed, then the result."""
    attempt = await delivery.begin(task)
    await attempt.publish(await transcriber.transcribe(task, attempt.checkpoint, attempt.append))


async def diarize(
    task: DiarizationTask, delivery: Annotated[Delivery, FromContext()], diarizer: Annotated[Diarizer, FromContext()]
) -> None:
    """Detect who speaks when in a recording: report progress, then publish the result."""
    attempt = await delivery.begin(task)
    await attempt.publish(await diarizer.diarize(task, attempt.append))


async def transcribe_live(
    task: LiveTask,
    delivery: Annotated[Delivery, FromContext()],
    live_transcriber: Annotated[LiveTranscriber, FromContext()],
) -> None:
    """Transcribe audio while it is being published: publish segments, and the result at the end."""
    attempt = await delivery.begin(task)
    await attempt.publish(await live_transcriber.transcribe(task, attempt.checkpoint, attempt.append))


HANDLERS: Mapping[Lane, Callable[..., Awaitable[None]]] = {  # `...`: handlers differ in their parameters
    Lane.TRANSCRIPTION: transcribe,
    Lane.DIARIZATION: diarize,
    Lane.LIVE: transcribe_live,
}


class DeliveryMiddleware(BaseMiddleware[Any, Any]):  # `Any`: FastStream's type parameters
    """Creates a `Delivery` for each granted task, and puts it into FastStream's context for the handler."""

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> None:
        """Call the handler, then acknowledge or return the message.

        While the handler runs, heartbeats prevent JetStream from delivering the message again.
        """
        granted = cast("GrantedTask", msg)  # the subscriber's parser has made it
        delivery = Delivery(self.context.get("execution"), granted)
        with self.context.scope("delivery", delivery):
            await process(delivery, partial(call_next, msg))


def subscribe_to_grants(
    broker: NatsBroker, read: GrantReader, names: StreamNames, *, live_tasks: int
) -> tuple[TaskSlot, ...]:
    """Declare the task slots of a worker, one for recordings and several for live tasks, on a broker before its start.

    `live_tasks`: how many live tasks the worker runs at the same time.
    """
    slots = (TaskSlot(Slots.RECORDINGS), *(TaskSlot(Slots.LIVE) for _ in range(live_tasks)))
    for slot in slots:
        slot.subscribe(broker, read, names, HANDLERS, DeliveryMiddleware)
    return slots
