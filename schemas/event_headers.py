"""Models of the NATS headers of messages that the service sends; `headers.py` has those of messages from clients."""

from typing import Final, Literal

from pydantic import Field

from .headers import (
    AUDIO_OFFSET,
    AUDIO_SHA256,
    CREATED_AT,
    INTERNAL,
    SPAN,
    STARTED_AT,
    TASK,
    TASK_SEQUENCE,
    TASK_SUBJECT,
    WRITTEN,
    Headers,
    Trace,
)
from .wire import TaskId, Time

_LIVE: Final = "Over core NATS only:"


class CloudEventHeaders(Headers):
    """Headers of an event: the attributes of CloudEvents 1.0 in binary mode, and headers that NATS adds."""

    specversion: Literal["1.0"] = Field("1.0", alias="ce-specversion", description="Version of CloudEvents.")
    id: str = Field(alias="ce-id", description="Id of the event.", examples=["f705dd8a3d3d4df7b11041e5c6f5e2b7"])
    message_id: str = Field(
        alias="Nats-Msg-Id",
        description="The same as `ce-id`: JetStream stores an event once, even if it is appended twice.",
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
    time: Time = Field(alias="ce-time", description="When the event was created.")
    data_content_type: Literal["application/json"] = Field(
        "application/json", alias="ce-datacontenttype", description="Media type of the event."
    )
    content_type: Literal["application/json"] = Field("application/json", alias="content-type", description=WRITTEN)
    traceparent: Trace = None
    expected_stream: str | None = Field(None, alias="Nats-Expected-Stream", description=INTERNAL)
    stream: str | None = Field(None, alias="Nats-Stream", description=f"{_LIVE} the stream that holds the message.")
    stored_as: str | None = Field(
        None, alias="Nats-Subject", description=f"{_LIVE} the subject under which the message is stored."
    )
    sequence: str | None = Field(
        None, alias="Nats-Sequence", description=f"{_LIVE} the sequence of the message in the stream."
    )
    last_sequence: str | None = Field(
        None,
        alias="Nats-Last-Sequence",
        description=f"{_LIVE} the sequence of the previous message on this subject, or 0; a client that has not "
        "received it has missed a message.",
    )
    stored_at: Time | None = Field(None, alias="Nats-Time-Stamp", description=f"{_LIVE} when the message was stored.")


class TaskEventHeaders(CloudEventHeaders):
    """Headers of the events in a task's log: CloudEvents attributes, and the service's own metadata."""

    subject: TaskId = Field(alias="ce-subject", description="The task id.")
    task: str | None = Field(None, alias=TASK, description=INTERNAL)
    task_sequence: str | None = Field(None, alias=TASK_SEQUENCE, description=INTERNAL)
    task_subject: str | None = Field(None, alias=TASK_SUBJECT, description=INTERNAL)
    created_at: str | None = Field(None, alias=CREATED_AT, description=INTERNAL)
    started_at: str | None = Field(None, alias=STARTED_AT, description=INTERNAL)
    span: str | None = Field(None, alias=SPAN, description=INTERNAL)
    audio_sha256: str | None = Field(None, alias=AUDIO_SHA256, description=INTERNAL)
    audio_offset: str | None = Field(None, alias=AUDIO_OFFSET, description=INTERNAL)
    expected_sequence: str | None = Field(None, alias="Nats-Expected-Last-Subject-Sequence", description=INTERNAL)
    expected_on: str | None = Field(None, alias="Nats-Expected-Last-Subject-Sequence-Subject", description=INTERNAL)


class SpeakersHeaders(TaskEventHeaders):
    """Headers of an event about the speakers of a live task."""

    type: Literal["natscribe.speakers.v1"] = Field(alias="ce-type", description="Type of the event.")


class ErasedHeaders(CloudEventHeaders):
    """Headers of the event that the data of a task were erased."""

    subject: TaskId = Field(alias="ce-subject", description="The task id.")
    type: Literal["natscribe.erased.v1"] = Field(alias="ce-type", description="Type of the event.")


class PartialHeaders(Headers):
    """Headers of a partial result, or of an event of a turn."""

    content_type: Literal["application/json"] = Field("application/json", alias="content-type", description=WRITTEN)


class ForgottenHeaders(PartialHeaders):
    """Headers of the event that a voice was forgotten."""
