"""Dead letters: what could not be done, kept for the operator."""

from pydantic import Field

from schemas.errors import ErrorDetail
from schemas.wire import Kind, Message, TaskId, Term, Time


class BodyEncoding(Term):
    """How the body of a dead letter is written."""

    UTF_8 = "utf-8", "As it was sent."
    BASE64 = "base64", "It was no text, or would have grown too long as text."


class DeadLetter(Message):
    """A task message that failed for good, with the reason."""

    task_id: TaskId | None = Field(description="Null where the message carried none that is valid.")
    kind: Kind = Field(description="Which kind of task was asked for.")
    subject: str = Field(description="Where the message was published.", examples=["tasks.transcription.normal"])
    body: str = Field(description="The message as it was sent.", examples=['{"task_id": "meeting-2026-11-24"}'])
    body_encoding: BodyEncoding = Field(description="How `body` is written.")
    body_truncated: bool = Field(description="Cut at a quarter of the server's `max_payload`: cannot be replayed.")
    headers: dict[str, str] = Field(
        description="The message's own headers, without overlong ones.",
        examples=[{"Nats-Msg-Id": "meeting-2026-11-24"}],
    )
    error: ErrorDetail = Field(description="Why it could not be done.")
    attempts: int = Field(ge=0, description="How often it was tried; 0: it was not valid.", examples=[4])
    stream_sequence: int = Field(ge=0, description="Of the task message in the task stream.", examples=[112])
    time: Time = Field(description="When it was given up.")
