"""The service of faststream_client.py, with the package natscribe: `faststream run faststream_typed:app`."""

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.security import SASLPlaintext
from natscribe import Kind, Priority, Settings, TranscriptionResult, TranscriptionTask
from natscribe.schemas import subjects
from pydantic import BaseModel

settings = Settings.read()  # NATS_URL, and the login if there is one
login = None
if settings.nats_user and settings.nats_password:
    login = SASLPlaintext(settings.nats_user, settings.nats_password.get_secret_value())
broker = NatsBroker(
    settings.nats_servers,
    security=login,
    inbox_prefix=settings.nats_inbox_prefix,
    max_reconnect_attempts=-1,
)
app = FastStream(broker)

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


@broker.subscriber("recordings.uploaded", queue="transcripts")
async def submit(recording: Uploaded) -> None:
    """Publish a task for each recording; with the same id it is safe to do so twice."""
    task = TranscriptionTask(
        task_id=recording.id, audio_file_id=recording.name, user_id=recording.user_id, diarize=True
    )
    subject = subjects.tasks(Kind.TRANSCRIPTION, Priority.NORMAL)
    await broker.publish(task, subject, stream=settings.stream_names.tasks, headers={"Nats-Msg-Id": task.task_id})


@broker.subscriber(
    "results.*", stream=RESULTS, durable="transcripts", pull_sub=PullSub(), ack_policy=AckPolicy.NACK_ON_ERROR
)
@broker.publisher("transcripts.ready")
async def deliver(result: TranscriptionResult) -> Ready:
    """Publish each transcript as lines, also those that came while this service was down."""
    if result.object:
        bucket = await broker.object_storage(result.object.bucket, declare=False)
        result = TranscriptionResult.model_validate_json((await bucket.get(result.object.name)).data or b"")
    return Ready(task_id=result.task_id, lines=[f"{line.speaker}: {line.text}" for line in result.segments])
