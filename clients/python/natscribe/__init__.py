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
        Live,
        NoJetStreamError,
        NoServerError,
        NotAllowedError,
        NoWorkerError,
        OptionError,
        OtherSenderError,
        QueueFullError,
        RecordingError,
        RequestFailedError,
        SettingsError,
        StorageFullError,
        StorageStoppedError,
        TaskDeletedError,
        TaskIdTakenError,
        UnreachableError,
    )
    from natscribe.schemas.dead_letters import DeadLetter
    from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
    from natscribe.schemas.errors import ErrorCode, ErrorDetail
    from natscribe.schemas.live import Codec, LiveAudio, LiveTask, Partial
    from natscribe.schemas.progress import ProgressEvent, Stage, State
    from natscribe.schemas.requests import ResultFormat, SubtitleLimits, TaskStatus
    from natscribe.schemas.task_list import ListedTask, TaskPage
    from natscribe.schemas.task_queues import QueueOverview, QueueStatus
    from natscribe.schemas.transcription import Segment, SegmentsEvent, TranscriptionResult, TranscriptionTask
    from natscribe.schemas.voices import Consent, SpeakerVoice, Voice
    from natscribe.schemas.wire import Kind, Lane, Priority
    from natscribe.schemas.workers import WorkerInfo
    from natscribe.settings import Settings

__all__ = [
    "Client",
    "ClientError",
    "Codec",
    "Consent",
    "DeadLetter",
    "DiarizationResult",
    "DiarizationTask",
    "ErrorCode",
    "ErrorDetail",
    "InboxRefusedError",
    "Kind",
    "Lane",
    "ListedTask",
    "Live",
    "LiveAudio",
    "LiveTask",
    "NoJetStreamError",
    "NoServerError",
    "NoWorkerError",
    "NotAllowedError",
    "OptionError",
    "OtherSenderError",
    "Partial",
    "Priority",
    "ProgressEvent",
    "QueueFullError",
    "QueueOverview",
    "QueueStatus",
    "RecordingError",
    "RequestFailedError",
    "ResultFormat",
    "Segment",
    "SegmentsEvent",
    "Settings",
    "SettingsError",
    "SpeakerVoice",
    "Stage",
    "State",
    "StorageFullError",
    "StorageStoppedError",
    "SubtitleLimits",
    "TaskDeletedError",
    "TaskIdTakenError",
    "TaskPage",
    "TaskStatus",
    "TranscriptionResult",
    "TranscriptionTask",
    "UnreachableError",
    "Voice",
    "WorkerInfo",
]

_MODULES = (
    "natscribe.client",
    "natscribe.schemas.dead_letters",
    "natscribe.schemas.diarization",
    "natscribe.schemas.errors",
    "natscribe.schemas.live",
    "natscribe.schemas.progress",
    "natscribe.schemas.requests",
    "natscribe.schemas.task_list",
    "natscribe.schemas.task_queues",
    "natscribe.schemas.transcription",
    "natscribe.schemas.voices",
    "natscribe.schemas.wire",
    "natscribe.schemas.workers",
    "natscribe.settings",
)


def __getattr__(name: str) -> object:
    if name in __all__:
        for module in map(import_module, _MODULES):
            if hasattr(module, name):
                return getattr(module, name)
    message = f"module 'natscribe' has no attribute {name!r}"
    raise AttributeError(message)
