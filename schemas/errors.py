"""What can go wrong, as clients are told."""

from enum import StrEnum

from pydantic import Field

from schemas.wire import Message


class ErrorCode(StrEnum):
    """Codes of the contract: a program decides by the code, a person reads the message."""

    INVALID_MESSAGE = "invalid_message"
    INVALID_REQUEST = "invalid_request"
    UNKNOWN_MODEL = "unknown_model"
    AUDIO_NOT_FOUND = "audio_not_found"
    AUDIO_UNREADABLE = "audio_unreadable"
    AUDIO_TOO_LARGE = "audio_too_large"
    TIMEOUT = "timeout"
    EXPIRED = "expired"
    WORKER_LOST = "worker_lost"
    ENGINE_FAILED = "engine_failed"
    NOT_FOUND = "not_found"
    NOT_FINISHED = "not_finished"
    FORMAT_UNAVAILABLE = "format_unavailable"
    INTERNAL = "internal"


class ErrorDetail(Message):
    """What is wrong and what to do, in one sentence."""

    code: ErrorCode
    message: str = Field(examples=["No recording is named 'meeting.flac': upload it to the bucket 'audio' first."])


class ErrorReply(Message):
    """The answer to a request that cannot be answered."""

    error: ErrorDetail
