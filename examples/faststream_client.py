"""A FastStream service that has recordings transcribed: `faststream run faststream_client:app`.

It hears `recordings.uploaded` of its own world, and says `transcripts.ready` when the text is there.
"""

import os
from typing import Literal

from faststream import AckPolicy, FastStream, Logger
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from pydantic import BaseModel

broker = NatsBroker(os.environ.get("NATS_URL", "nats://localhost:4222"), max_reconnect_attempts=-1)
app = FastStream(broker)

# As a plain string, or without declare=False, the stream's settings would be reset to FastStream's defaults.
RESULTS = JStream("transcription_results", declare=False)


class Uploaded(BaseModel):
    """A recording that somebody has put into the bucket `audio`."""

    name: str
    user_id: int


class Task(BaseModel):
    """What the transcription service asks for, as far as this service uses it."""

    task_id: str
    audio_file_id: str
    user_id: int
    diarize: bool = True


class Segment(BaseModel):
    """A stretch of text, or of a speaker alone."""

    start: float
    text: str = ""
    speaker: str | None = None


class Result(BaseModel):
    """What this service needs of a result: fields that it does not name are ignored, so that new ones do no harm."""

    kind: Literal["transcription", "diarization"]
    task_id: str
    segments: list[Segment]


class Ready(BaseModel):
    """What this service tells its own world."""

    task_id: str
    lines: list[str]


@broker.subscriber("recordings.uploaded", queue="transcripts")
async def submit(uploaded: Uploaded, message: NatsMessage) -> None:
    """Publish a task for each recording; the id makes it safe to do so twice."""
    task = Task(task_id=message.message_id, audio_file_id=uploaded.name, user_id=uploaded.user_id)
    await broker.publish(
        task, "tasks.transcription.normal", stream="transcription_tasks", headers={"Nats-Msg-Id": task.task_id}
    )


@broker.subscriber(
    "results.*", stream=RESULTS, durable="transcripts", pull_sub=PullSub(), ack_policy=AckPolicy.NACK_ON_ERROR
)
@broker.publisher("transcripts.ready")
async def deliver(result: Result, logger: Logger) -> Ready:
    """Say that a transcript is ready, line by line."""
    logger.info("%s of %s", result.kind, result.task_id)
    return Ready(task_id=result.task_id, lines=[f"{line.speaker}: {line.text}" for line in result.segments])
