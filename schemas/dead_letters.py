"""Dead letters: what could not be done, kept for the operator."""

from enum import StrEnum

from pydantic import Field

from schemas.errors import ErrorDetail
from schemas.wire import Kind, Message, TaskId, Time


class BodyEncoding(StrEnum):
    """How the body of a dead letter is written."""

    UTF_8 = "utf-8"
    BASE64 = "base64"


class DeadLetter(Message):
    """A task message that failed for good, with the reason."""

    task_id: TaskId | None
    kind: Kind
    subject: str
    body: str
    body_encoding: BodyEncoding
    body_truncated: bool = Field(description="Cut at a quarter of `max_payload`: cannot be replayed.")
    headers: dict[str, str]
    error: ErrorDetail
    attempts: int = Field(ge=0)
    stream_sequence: int = Field(ge=0, description="Of the task message in the task stream.")
    time: Time
