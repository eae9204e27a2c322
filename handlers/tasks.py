"""Handles the messages of the task queues: a handler for each lane (type of task), and the middleware around them."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any

from faststream import BaseMiddleware, StreamMessage
from nats.aio.msg import Msg
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.live import LiveTask
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Lane

from app.execution.delivery import Delivery
from app.execution.processing import process
from app.live.transcriber import LiveTranscriber
from app.speech.diarizer import Diarizer
from app.speech.transcriber import Transcriber
from handlers.dependencies import FromContext


class DeliveryMiddleware(BaseMiddleware[Any, Any]):  # `Any`: FastStream's type parameters
    """Creates a `Delivery` for each task message, and puts it into FastStream's context for the handler."""

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> None:
        """Call the handler, then acknowledge or return the message.

        While the handler runs, heartbeats prevent JetStream from delivering the message again.
        """
        delivery = Delivery(self.context.get("execution"), msg.raw_message)
        with self.context.scope("delivery", delivery):
            await process(delivery, partial(call_next, msg))


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
