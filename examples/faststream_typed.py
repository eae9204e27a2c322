"""The service of faststream_client.py, with the package natscribe: `faststream run faststream_typed:app`."""

import os

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.js.api import RetentionPolicy
from natscribe import Priority, Settings, TaskType, TranscriptionResult, TranscriptionTask
from natscribe.faststream import RESULTS, Result, broker, pull_inbox
from natscribe.schemas import subjects
from pydantic import BaseModel

settings = Settings.read()  # NATS_URL, and the login if there is one
natscribe = broker(settings)
own = NatsBroker(os.environ.get("OWN_NATS_URL", settings.nats_url).split(","), max_reconnect_attempts=-1)
app = FastStream(own, natscribe)
# Streams of your own: they store each message until it is handled, also while this service is down.
UPLOADS, TRANSCRIPTS = JStream("uploads", retention=RetentionPolicy.WORK_QUEUE), JStream("transcripts")


class Uploaded(BaseModel):
    """A recording that was uploaded to the bucket `audio`."""

    id: str
    name: str
    user_id: int


class Ready(BaseModel):
    """The message of this service: a transcript is ready."""

    task_id: str
    lines: list[str]


ready = own.publisher("transcripts.ready", stream=TRANSCRIPTS)


@app.on_startup
async def connect() -> None:
    """Connect both brokers before one of them receives a message: each handler publishes to the other broker."""
    await natscribe.connect()
    await own.connect()


# MANUAL: after an error or a crash, NATS delivers the message again, 30 s after the last delivery.
@own.subscriber(
    "recordings.uploaded", stream=UPLOADS, durable="transcripts", pull_sub=PullSub(), ack_policy=AckPolicy.MANUAL
)
async def submit(recording: Uploaded, message: NatsMessage) -> None:
    """Publish a task for each recording; a second task with the same id is dropped."""
    task = TranscriptionTask(
        task_id=recording.id, audio_file_id=recording.name, user_id=recording.user_id, diarize=True
    )
    subject = subjects.tasks(TaskType.TRANSCRIPTION, Priority.NORMAL)
    await natscribe.publish(task, subject, stream=settings.stream_names.tasks, headers={"Nats-Msg-Id": task.task_id})
    await message.ack()


@natscribe.subscriber(
    "results.*",
    stream=RESULTS,
    durable="transcripts",
    pull_sub=PullSub(),
    inbox_prefix=pull_inbox(settings),
    ack_policy=AckPolicy.MANUAL,
)
async def deliver(result: Result, message: NatsMessage) -> None:
    """Publish each transcript as lines, including those of times when this service was down; a diarization has none."""
    if result.object:
        bucket = await natscribe.object_storage(result.object.bucket, declare=False)
        result = type(result).model_validate_json((await bucket.get(result.object.name)).data or b"")
    segments = result.segments if isinstance(result, TranscriptionResult) else []
    transcript = Ready(task_id=result.task_id, lines=[f"{line.speaker}: {line.text}" for line in segments])
    await ready.publish(transcript, headers={"Nats-Msg-Id": result.task_id})  # the stream drops a duplicate
    await message.ack()
