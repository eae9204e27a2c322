"""Dead letters: messages of failed tasks, stored for an operator who can remove the cause and replay them."""

from base64 import b64decode

from pydantic import Field

from .enums import DescribedEnum
from .errors import ErrorDetail
from .wire import Kind, Message, TaskId, Time


class BodyEncoding(DescribedEnum):
    """How the field `body` of a dead letter encodes the body of the task message."""

    UTF_8 = "utf-8", "The text of the message."
    BASE64 = "base64", "Base64, for a body that is not text, or that is too long as text in JSON."


class DeadLetter(Message):
    """A task message that failed permanently, with the error, for an operator.

    Either the task failed with an error whose cause an operator can remove, or the message was not a valid task, and
    has no task id or that of another task, so that its publisher could not be told. It contains the message as sent.
    """

    task_id: TaskId | None = Field(description="Id of the task; null if the message has no valid task id.")
    kind: Kind = Field(description="Kind of the task.")
    subject: str = Field(
        description="The subject on which the message was published.", examples=["tasks.transcription.normal"]
    )
    body: str = Field(
        description="The body of the message, as it was sent.", examples=['{"task_id": "meeting-2026-11-24"}']
    )
    body_encoding: BodyEncoding = Field(description="Encoding of `body`.")
    body_truncated: bool = Field(
        description="Whether `body` was truncated to a quarter of the server's `max_payload`; if so, the task cannot "
        "be replayed."
    )
    headers: dict[str, str] = Field(
        description="The headers of the message, except very long ones.",
        examples=[{"Nats-Msg-Id": "meeting-2026-11-24"}],
    )
    error: ErrorDetail = Field(description="Why the task failed.")
    attempts: int = Field(ge=0, description="Number of attempts; 0: the message was not a valid task.", examples=[4])
    stream_sequence: int = Field(ge=0, description="Sequence of the task message in the task stream.", examples=[112])
    time: Time = Field(description="When the task failed.")

    @property
    def sent(self) -> bytes:
        """The body of the task message in bytes; only its beginning if it was truncated."""
        return b64decode(self.body) if self.body_encoding is BodyEncoding.BASE64 else self.body.encode()
