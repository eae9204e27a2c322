"""The client of Natscribe: submits recordings over NATS, follows tasks, and fetches their results.

Each name is imported on first use, so that `import natscribe` imports nothing else.
"""

from importlib import import_module
from pkgutil import iter_modules
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

_SCHEMAS = "natscribe.schemas."


def __getattr__(name: str) -> object:
    if name in __all__:
        schemas = import_module("natscribe.schemas").__path__
        contract = (info.name for info in iter_modules(schemas, _SCHEMAS) if info.name != f"{_SCHEMAS}examples")
        modules = ("natscribe.client", "natscribe.settings", *contract)
        for module in map(import_module, modules):
            if hasattr(module, name):
                return getattr(module, name)
    message = f"module 'natscribe' has no attribute {name!r}"
    raise AttributeError(message)
