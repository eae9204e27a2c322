"""The service of faststream_client.py, with the package natscribe: `faststream run faststream_typed:app`."""

import os
import ssl

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.security import NatsUserPassword
from natscribe import DiarizationResult, Kind, Priority, Settings, TranscriptionResult, TranscriptionTask
from natscribe.schemas import subjects
from pydantic import BaseModel

settings = Settings.read()  # NATS_URL, and the login if there is one
password = settings.nats_password.get_secret_value() if settings.nats_password else ""
TLS = ssl.create_default_context(cafile=settings.nats_tls_ca_file)  # used if the server asks for TLS

natscribe = NatsBroker(
    settings.nats_servers,
    security=NatsUserPassword(settings.nats_user or "", password, ssl_context=TLS),
    inbox_prefix=settings.nats_inbox_prefix,
    max_reconnect_attempts=-1,
)
own = NatsBroker(os.environ.get("OWN_NATS_URL", settings.nats_url).split(","), max_reconnect_attempts=-1)
app = FastStream(natscribe, own)

# With a plain string, or without declare=False, FastStream would reset the stream to its own defaults.
RESULTS = JStream(settings.stream_names.results, declare=False)


class Uploaded(BaseModel):
    """A recording that was uploaded to the bucket `audio`."""

    id: str
    name: str
    user_id: int


class Ready(BaseModel):
    """The message of this service: a transcript is ready."""

    task_id: str
    lines: list[str]


@own.subscriber("recordings.uploaded", queue="transcripts")
async def submit(recording: Uploaded) -> None:
    """Publish a task for each recording; with the same id it is safe to do so twice."""
    task = TranscriptionTask(
        task_id=recording.id, audio_file_id=recording.name, user_id=recording.user_id, diarize=True
    )
    subject = subjects.tasks(Kind.TRANSCRIPTION, Priority.NORMAL)
    await natscribe.publish(task, subject, stream=settings.stream_names.tasks, headers={"Nats-Msg-Id": task.task_id})


@natscribe.subscriber(
    "results.*",
    stream=RESULTS,
    durable="transcripts",
    pull_sub=PullSub(),
    inbox_prefix=f"{settings.nats_inbox_prefix}.".encode(),  # FastStream does not take this from the broker
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
@own.publisher("transcripts.ready")
async def deliver(result: TranscriptionResult | DiarizationResult) -> Ready:
    """Publish each transcript as lines, also those that came while this service was down; a diarization has none."""
    if result.object:
        bucket = await natscribe.object_storage(result.object.bucket, declare=False)
        result = type(result).model_validate_json((await bucket.get(result.object.name)).data or b"")
    said = result.segments if isinstance(result, TranscriptionResult) else []
    return Ready(task_id=result.task_id, lines=[f"{line.speaker}: {line.text}" for line in said])
