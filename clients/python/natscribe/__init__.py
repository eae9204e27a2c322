"""The client of Natscribe: submits recordings over NATS, follows tasks, and fetches their results.

A name is imported when it is first used, so that `import natscribe` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natscribe.client import (
        Client,
        ClientError,
        InboxRefusedError,
        NoServerError,
        NotAllowedError,
        NoWorkerError,
        OptionError,
        QueueFullError,
        RecordingError,
        RequestFailedError,
        StorageFullError,
        TaskDeletedError,
        TaskIdTakenError,
        UnreachableError,
    )
    from natscribe.schemas.dead_letters import DeadLetter
    from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
    from natscribe.schemas.errors import ErrorCode, ErrorDetail
    from natscribe.schemas.progress import ProgressEvent, Stage, State
    from natscribe.schemas.requests import ResultFormat, SubtitleLimits, TaskStatus
    from natscribe.schemas.task_queues import QueueOverview
    from natscribe.schemas.transcription import Segment, SegmentsEvent, TranscriptionResult, TranscriptionTask
    from natscribe.schemas.wire import Kind, Priority
    from natscribe.schemas.workers import WorkerInfo
    from natscribe.settings import Settings

__all__ = [
    "Client",
    "ClientError",
    "DeadLetter",
    "DiarizationResult",
    "DiarizationTask",
    "ErrorCode",
    "ErrorDetail",
    "InboxRefusedError",
    "Kind",
    "NoServerError",
    "NoWorkerError",
    "NotAllowedError",
    "OptionError",
    "Priority",
    "ProgressEvent",
    "QueueFullError",
    "QueueOverview",
    "RecordingError",
    "RequestFailedError",
    "ResultFormat",
    "Segment",
    "SegmentsEvent",
    "Settings",
    "Stage",
    "State",
    "StorageFullError",
    "SubtitleLimits",
    "TaskDeletedError",
    "TaskIdTakenError",
    "TaskStatus",
    "TranscriptionResult",
    "TranscriptionTask",
    "UnreachableError",
    "WorkerInfo",
]

_MODULES = {
    "natscribe.client": (
        "Client",
        "ClientError",
        "InboxRefusedError",
        "NoServerError",
        "NoWorkerError",
        "NotAllowedError",
        "OptionError",
        "QueueFullError",
        "RecordingError",
        "RequestFailedError",
        "StorageFullError",
        "TaskDeletedError",
        "TaskIdTakenError",
        "UnreachableError",
    ),
    "natscribe.schemas.dead_letters": ("DeadLetter",),
    "natscribe.schemas.diarization": ("DiarizationResult", "DiarizationTask"),
    "natscribe.schemas.errors": ("ErrorCode", "ErrorDetail"),
    "natscribe.schemas.progress": ("ProgressEvent", "Stage", "State"),
    "natscribe.schemas.requests": ("ResultFormat", "SubtitleLimits", "TaskStatus"),
    "natscribe.schemas.task_queues": ("QueueOverview",),
    "natscribe.schemas.transcription": ("Segment", "SegmentsEvent", "TranscriptionResult", "TranscriptionTask"),
    "natscribe.schemas.wire": ("Kind", "Priority"),
    "natscribe.schemas.workers": ("WorkerInfo",),
    "natscribe.settings": ("Settings",),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(module), name)
    message = f"module 'natscribe' has no attribute {name!r}"
    raise AttributeError(message)
