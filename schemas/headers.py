"""The NATS headers of all messages."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from .wire import TASK_ID_PATTERN, TaskId, Time

AUDIO_SECONDS = "Natscribe-Audio-Seconds"
TASK = "Natscribe-Task"
TASK_SEQUENCE = "Natscribe-Task-Sequence"
TASK_SUBJECT = "Natscribe-Task-Subject"
CREATED_AT = "Natscribe-Created-At"
STARTED_AT = "Natscribe-Started-At"
SPAN = "Natscribe-Span"
AUDIO_SHA256 = "Natscribe-Audio-Sha256"
SOUND_FROM = "Natscribe-Sound-From"  # of segments of a live task: from which frame another worker reads
REPLAY_OF = "Natscribe-Replay-Of"  # the stream sequence of the `failed` event of a replayed task; its new events follow
END = "Natscribe-End"  # `true`: the last frame of a live task
TRACEPARENT = "traceparent"
FRAME_ID_PATTERN = TASK_ID_PATTERN.removesuffix("$") + r"-[0-9]{1,9}$"
TRACE_PATTERN = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"  # W3C Trace Context
_INTERNAL = "Internal, for the workers: clients must not set or read this header."
_LIVE = "Live, over core NATS:"
_WRITTEN = "Format of the message."

Trace = Annotated[
    str | None,
    Field(
        pattern=TRACE_PATTERN,
        description="W3C Trace Context: the trace of the task's publisher, repeated in every event of the task.",
        examples=["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    ),
]
Correlation = Annotated[
    str | None,
    Field(
        description="An id of the request, which the reply repeats; if the request has no id, the reply has a new one.",
        examples=["3e24c077-feb6-4ad8-a2db-5ca8e216e537"],
    ),
]


def _never_null(schema: JsonDict) -> None:
    """Remove null from the schema: a header is present or absent."""
    fields = schema["properties"]
    for field in fields.values() if isinstance(fields, dict) else ():
        if isinstance(field, dict) and isinstance(choice := field.pop("anyOf", None), list):
            field.pop("default")
            present = next(one for one in choice if isinstance(one, dict) and one != {"type": "null"})
            field.update(present | field)


class Headers(BaseModel):
    """Headers of a NATS message: all values are text, and a message may have other headers, too."""

    model_config = ConfigDict(frozen=True, json_schema_extra=_never_null, defer_build=True)


class TaskHeaders(Headers):
    """Headers that a publisher of a task may set."""

    message_id: TaskId | None = Field(
        None,
        alias="Nats-Msg-Id",
        description="The task id. With this header, a task that is published again because its acknowledgement was "
        "lost is stored only once.",
    )
    traceparent: Trace = None
    content_type: Literal["application/json"] | None = Field(None, alias="content-type", description=_WRITTEN)
    audio_seconds: str | None = Field(
        None,
        alias=AUDIO_SECONDS,
        pattern=r"^\d+(\.\d+)?$",
        description="Length of the recording, if the publisher knows it: operators see how much audio waits, and short "
        "recordings start first if the operator has set PRIORITY_LOOKAHEAD.",
        examples=["1834.5"],
    )
    replay_of: str | None = Field(None, alias=REPLAY_OF, description=_INTERNAL)


class CloudEventHeaders(Headers):
    """The attributes of CloudEvents 1.0 in binary mode."""

    specversion: Literal["1.0"] = Field("1.0", alias="ce-specversion", description="Version of CloudEvents.")
    id: str = Field(alias="ce-id", description="Id of the event.", examples=["f705dd8a3d3d4df7b11041e5c6f5e2b7"])
    message_id: str = Field(
        alias="Nats-Msg-Id",
        description="The same as `ce-id`: an event that is appended twice is stored only once.",
        examples=["f705dd8a3d3d4df7b11041e5c6f5e2b7"],
    )
    source: str = Field(
        alias="ce-source", description="The worker that appended the event.", examples=["natscribe/gpu-1-4711-9f3c"]
    )
    type: str = Field(
        alias="ce-type",
        pattern=r"^natscribe\.(progress|segments|results|dead_letters)\.v1$",
        description="Type of the event, with the version of the contract.",
        examples=["natscribe.progress.v1"],
    )
    subject: TaskId | None = Field(None, alias="ce-subject", description="The task id, if there is one.")
    time: Time = Field(alias="ce-time", description="When the event was made.")
    data_content_type: Literal["application/json"] = Field(
        "application/json", alias="ce-datacontenttype", description="Format of the event, as CloudEvents names it."
    )
    content_type: Literal["application/json"] = Field("application/json", alias="content-type", description=_WRITTEN)
    traceparent: Trace = None
    expected_stream: str | None = Field(None, alias="Nats-Expected-Stream", description=_INTERNAL)
    stream: str | None = Field(None, alias="Nats-Stream", description=f"{_LIVE} the stream that holds the message.")
    stored_as: str | None = Field(
        None, alias="Nats-Subject", description=f"{_LIVE} the subject under which the message is stored."
    )
    sequence: str | None = Field(
        None, alias="Nats-Sequence", description=f"{_LIVE} the number of the message in the stream."
    )
    last_sequence: str | None = Field(
        None,
        alias="Nats-Last-Sequence",
        description=f"{_LIVE} the number of the previous message on this subject, or 0; a client that has not received "
        "this number has missed a message.",
    )
    stored_at: Time | None = Field(None, alias="Nats-Time-Stamp", description=f"{_LIVE} when the message was stored.")


class TaskEventHeaders(CloudEventHeaders):
    """Headers of the events in a task's log: CloudEvents attributes, and the service's own metadata."""

    subject: TaskId = Field(alias="ce-subject", description="The task id.")
    task: str | None = Field(None, alias=TASK, description=_INTERNAL)
    task_sequence: str | None = Field(None, alias=TASK_SEQUENCE, description=_INTERNAL)
    task_subject: str | None = Field(None, alias=TASK_SUBJECT, description=_INTERNAL)
    created_at: str | None = Field(None, alias=CREATED_AT, description=_INTERNAL)
    started_at: str | None = Field(None, alias=STARTED_AT, description=_INTERNAL)
    span: str | None = Field(None, alias=SPAN, description=_INTERNAL)
    audio_sha256: str | None = Field(None, alias=AUDIO_SHA256, description=_INTERNAL)
    sound_from: str | None = Field(None, alias=SOUND_FROM, description=_INTERNAL)
    expected_sequence: str | None = Field(None, alias="Nats-Expected-Last-Subject-Sequence", description=_INTERNAL)
    expected_on: str | None = Field(None, alias="Nats-Expected-Last-Subject-Sequence-Subject", description=_INTERNAL)


class AcceptedHeaders(TaskHeaders):
    """Headers that JetStream adds when the task stream republishes a message."""

    stream: str = Field(alias="Nats-Stream", description="The task stream.", examples=["transcription_tasks"])
    subject: str = Field(
        alias="Nats-Subject",
        description="The subject on which the task was published.",
        examples=["tasks.transcription.normal"],
    )
    sequence: str = Field(
        alias="Nats-Sequence", description="The number of the message in the task stream.", examples=["112"]
    )
    time: Time = Field(alias="Nats-Time-Stamp", description="When the message was stored.")


class FrameHeaders(Headers):
    """Headers of a frame of a live task."""

    message_id: str = Field(
        alias="Nats-Msg-Id",
        pattern=FRAME_ID_PATTERN,
        description="`<task id>-<number>`: frames are numbered from 0, without gaps. The number says where the frame "
        "belongs, so that a frame may be published again: the service reads each number once.",
        examples=["interview-17-0"],
    )
    end: Literal["true"] | None = Field(
        None, alias=END, description="`true`: this is the last frame, which may be empty. The recording ends with it."
    )


class PartialHeaders(Headers):
    """Headers of a partial."""

    content_type: Literal["application/json"] = Field("application/json", alias="content-type", description=_WRITTEN)


class ForgottenHeaders(PartialHeaders):
    """Headers of the event that a voice was forgotten."""


class RequestHeaders(Headers):
    """Headers that a client may set in a request."""

    correlation_id: Correlation = None


class InsideHeaders(RequestHeaders):
    """Headers that a worker may set in a request to other workers."""


class ReplyHeaders(Headers):
    """Headers of a reply in JSON."""

    content_type: Literal["application/json"] = Field("application/json", alias="content-type", description=_WRITTEN)
    correlation_id: Correlation = None


class TextReplyHeaders(Headers):
    """Headers of a reply in plain text."""

    content_type: Literal["text/plain"] = Field(
        "text/plain", alias="content-type", description="Not JSON: the body is the file, in UTF-8."
    )
    correlation_id: Correlation = None


class PageReplyHeaders(Headers):
    """Headers of a reply that is a page."""

    content_type: Literal["text/html"] = Field(
        "text/html", alias="content-type", description="Not JSON: the body is the page, in UTF-8."
    )
    correlation_id: Correlation = None
