"""The errors with which the service ends tasks and replies to requests."""

from typing import Annotated

from pydantic import AfterValidator, Field

from .enums import DescribedEnum, of_any_version
from .printable import printable
from .wire import Message

MAX_MESSAGE_CHARS = 2000


class ErrorCode(DescribedEnum):
    """What has failed: programs branch on this code, people read the error's message.

    An operator can remove the cause of `timeout`, `expired`, `worker_lost`, `engine_failed` and `internal`, and only
    the client that of the others.
    """

    INVALID_MESSAGE = (
        "invalid_message",
        "The task is not valid, or the model does not support its options: correct it and publish it under a new id.",
    )
    INVALID_REQUEST = (
        "invalid_request",
        "The request is not valid JSON with the described fields: correct the request and send it again.",
    )
    UNKNOWN_MODEL = (
        "unknown_model",
        "The task names a model that the service does not offer: leave `model` out or name another model.",
    )
    AUDIO_NOT_FOUND = (
        "audio_not_found",
        "No recording has this name: upload it first, then publish the task under a new task id.",
    )
    AUDIO_UNREADABLE = (
        "audio_unreadable",
        "The recording is empty, damaged, without audio, or was replaced while the task ran.",
    )
    AUDIO_TOO_LARGE = (
        "audio_too_large",
        "The recording is larger or longer than the service allows: split the recording.",
    )
    TIMEOUT = (
        "timeout",
        "The attempt made no progress for longer than the service allows; the service retries the task first.",
    )
    EXPIRED = "expired", "The task waited too long for a worker."
    QUOTA_EXCEEDED = (
        "quota_exceeded",
        "The user has as many waiting tasks as the operator allows: publish the task later, under a new id.",
    )
    WORKER_LOST = ("worker_lost", "The worker died while it ran the task; the service retries the task first.")
    ENGINE_FAILED = (
        "engine_failed",
        "The model failed on this recording, or the service has no model; the service retries the task first.",
    )
    NOT_FOUND = "not_found", "The service does not know this task, has deleted it, or has no result of it."
    NOT_FINISHED = "not_finished", "The task has no result yet: wait for `completed`, then send the request again."
    FORMAT_UNAVAILABLE = (
        "format_unavailable",
        "This kind of result is not available in this format: request another format.",
    )
    INTERNAL = (
        "internal",
        "The service or one of its servers has a problem. The service retries tasks; send requests again.",
    )

    @property
    def is_client_error(self) -> bool:
        """Whether only the client can remove the cause; False for an unknown code."""
        return self in _CLIENT_ERRORS


_CLIENT_ERRORS = frozenset(ErrorCode) - {
    *(ErrorCode.TIMEOUT, ErrorCode.EXPIRED, ErrorCode.WORKER_LOST, ErrorCode.ENGINE_FAILED, ErrorCode.INTERNAL)
}

OpenCode = Annotated[ErrorCode, of_any_version(ErrorCode)]


def _one_line(message: str) -> str:
    return printable(message)[:MAX_MESSAGE_CHARS]  # it may repeat text of the message with the problem


class ErrorDetail(Message):
    """An error: its code for programs, and its cause and remedy for people."""

    code: OpenCode = Field(description="Code of the error, for programs.", examples=["audio_not_found"])
    message: Annotated[str, AfterValidator(_one_line)] = Field(
        description="The cause and what to do, in one sentence for people.",
        examples=["No recording is named 'meeting.flac': upload it to the bucket 'audio', then submit a new task."],
    )


class ErrorReply(Message):
    """The reply to a request that failed, in place of the usual reply."""

    error: ErrorDetail = Field(description="Why the request failed.")
