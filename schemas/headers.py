"""The names of the NATS headers of the service, and models of the headers that clients send."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from .wire import TASK_ID_PATTERN, TaskId

AUDIO_SECONDS = "Natscribe-Audio-Seconds"
TASK = "Natscribe-Task"
TASK_SEQUENCE = "Natscribe-Task-Sequence"
TASK_SUBJECT = "Natscribe-Task-Subject"
CREATED_AT = "Natscribe-Created-At"
STARTED_AT = "Natscribe-Started-At"
SPAN = "Natscribe-Span"
AUDIO_SHA256 = "Natscribe-Audio-Sha256"
AUDIO_OFFSET = "Natscribe-Audio-Offset"  # of segments of a live task: the frame from which another worker continues
REPLAY_OF = "Natscribe-Replay-Of"  # the stream sequence of the `failed` event of a replayed task; its new events follow
END = "Natscribe-End"  # `true`: the last frame of a live task
FINALIZE = "Natscribe-Finalize"  # of a frame of a live task: a mark, with which the client requests its text at once
TRACEPARENT = "traceparent"
MARK_PATTERN = r"^[!-~]([ -~]{0,62}[!-~])?$"  # NATS removes spaces around the value of a header
FRAME_ID_PATTERN = TASK_ID_PATTERN.removesuffix("$") + r"-[0-9]{1,9}$"
TRACE_PATTERN = r"^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"  # W3C Trace Context
INTERNAL = "Internal to the workers: clients must not set or read this header."
WRITTEN = "Media type of the message."

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
        description="Id of the request, repeated in the reply; without it the reply has a new id.",
        examples=["3e24c077-feb6-4ad8-a2db-5ca8e216e537"],
    ),
]


def _never_null(schema: JsonDict) -> None:
    """Remove null from the JSON schema of each header: a header without a value is absent."""
    fields = schema["properties"]
    for field in fields.values() if isinstance(fields, dict) else ():
        if isinstance(field, dict) and isinstance(choice := field.pop("anyOf", None), list):
            field.pop("default")
            present = next(schema for schema in choice if isinstance(schema, dict) and schema != {"type": "null"})
            field.update(present | field)


class Headers(BaseModel):
    """Base class of models of NATS headers: all values are strings, and headers without a field are ignored."""

    model_config = ConfigDict(frozen=True, json_schema_extra=_never_null, defer_build=True)


class TaskHeaders(Headers):
    """Headers that a publisher of a task may set."""

    message_id: TaskId | None = Field(
        None,
        alias="Nats-Msg-Id",
        description="The task id. With this header, a task that is published again after a lost acknowledgement is "
        "stored only once.",
    )
    traceparent: Trace = None
    content_type: Literal["application/json"] | None = Field(None, alias="content-type", description=WRITTEN)
    audio_seconds: str | None = Field(
        None,
        alias=AUDIO_SECONDS,
        pattern=r"^\d+(\.\d+)?$",
        description="Duration of the recording in seconds, from which the service computes how much audio waits, when "
        "tasks start, and whose task is next. When the task ends, the actual duration replaces it.",
        examples=["1834.5"],
    )
    replay_of: str | None = Field(None, alias=REPLAY_OF, description=INTERNAL)


class FrameHeaders(Headers):
    """Headers of a frame, i.e. one message with audio of a live task."""

    message_id: str = Field(
        alias="Nats-Msg-Id",
        pattern=FRAME_ID_PATTERN,
        description="`<task id>-<number>`: frames are numbered from 0 in their order, without gaps. The service reads "
        "each number once, so a frame may be published again.",
        examples=["interview-17-0"],
    )
    end: Literal["true"] | None = Field(
        None, alias=END, description="`true`: the audio ends with this frame, which may be empty."
    )
    finalize: str | None = Field(
        None,
        alias=FINALIZE,
        pattern=MARK_PATTERN,
        description="A mark, chosen by the client: the audio up to and including this frame, which may be empty, is "
        "transcribed at once, without waiting for a pause. `finalized` of the segments event that completes its text "
        "has the mark. Up to 64 printable characters of ASCII.",
        examples=["turn-3"],
    )


class RequestHeaders(Headers):
    """Headers that a client may set in a request."""

    correlation_id: Correlation = None
