"""A FastStream service that has recordings transcribed: `faststream run faststream_client:app`.

It subscribes to `recordings.uploaded` of your system, and publishes `transcripts.ready` with the text. Your system may
have its own NATS: the users of the service's NATS have no permission for your subjects.
"""

import os
import ssl

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from faststream.nats.security import NatsUserPassword
from nats.js.api import RetentionPolicy
from pydantic import BaseModel

env = os.environ.get
NATS_URL = env("NATS_URL", "nats://localhost:4222")
INBOX_PREFIX = env("NATS_INBOX_PREFIX", "_INBOX")
TLS = ssl.create_default_context(cafile=env("NATS_TLS_CA_FILE"))  # used if the server asks for TLS

natscribe = NatsBroker(
    NATS_URL.split(","),
    security=NatsUserPassword(env("NATS_USER", ""), env("NATS_PASSWORD", ""), ssl_context=TLS),
    inbox_prefix=INBOX_PREFIX,
    max_reconnect_attempts=-1,
)
own = NatsBroker(env("OWN_NATS_URL", NATS_URL).split(","), max_reconnect_attempts=-1)
app = FastStream(own, natscribe)

# FastStream would declare a stream given by its mere name, which NATS refuses: docs/faststream.md.
RESULTS = JStream("transcription_results", declare=False)
# Streams of your own: they store each message until it is handled, also while this service is down.
UPLOADS, TRANSCRIPTS = JStream("uploads", retention=RetentionPolicy.WORK_QUEUE), JStream("transcripts")


class Uploaded(BaseModel):
    """A recording that was uploaded to the bucket `audio`."""

    id: str
    name: str
    user_id: int


class Task(BaseModel):
    """A transcription task, with the fields that this service uses."""

    task_id: str
    audio_file_id: str
    user_id: int
    diarize: bool = True


class Segment(BaseModel):
    """A segment of a transcript, or a turn of a speaker."""

    text: str = ""
    speaker: str | None = None


class Object(BaseModel):
    """Where a result is stored that is too large for a message."""

    bucket: str
    name: str


class Result(BaseModel):
    """The fields of a result that this service needs. Others are ignored, so new fields are harmless."""

    task_id: str
    segments: list[Segment]
    object: Object | None = None


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
    task = Task(task_id=recording.id, audio_file_id=recording.name, user_id=recording.user_id)
    await natscribe.publish(
        task, "tasks.transcription.normal", stream="transcription_tasks", headers={"Nats-Msg-Id": task.task_id}
    )
    await message.ack()


@natscribe.subscriber(
    "results.*",
    stream=RESULTS,
    durable="transcripts",
    pull_sub=PullSub(),
    inbox_prefix=f"{INBOX_PREFIX}.".encode(),  # FastStream does not take this from the broker
    ack_policy=AckPolicy.MANUAL,
)
async def deliver(result: Result, message: NatsMessage) -> None:
    """Publish each transcript as lines, including those published while this service was down."""
    if result.object:
        bucket = await natscribe.object_storage(result.object.bucket, declare=False)
        result = Result.model_validate_json((await bucket.get(result.object.name)).data or b"")
    transcript = Ready(task_id=result.task_id, lines=[f"{line.speaker}: {line.text}" for line in result.segments])
    await ready.publish(transcript, headers={"Nats-Msg-Id": result.task_id})  # the stream drops a duplicate
    await message.ack()
