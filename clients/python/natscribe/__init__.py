"""The client of Natscribe: submits recordings over NATS, follows tasks, and fetches their results.

Each name is imported on first use, so that `import natscribe` imports nothing else.
"""

# ruff: noqa: F403, F405 -- a type checker reads the same modules as `__getattr__`; `__all__` names what is public

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from natscribe.client import *
    from natscribe.schemas.dead_letters import *
    from natscribe.schemas.diarization import *
    from natscribe.schemas.erased import *
    from natscribe.schemas.errors import *
    from natscribe.schemas.live import *
    from natscribe.schemas.progress import *
    from natscribe.schemas.quotas import *
    from natscribe.schemas.redaction import *
    from natscribe.schemas.requests import *
    from natscribe.schemas.search import *
    from natscribe.schemas.task_list import *
    from natscribe.schemas.task_queues import *
    from natscribe.schemas.transcription import *
    from natscribe.schemas.voices import *
    from natscribe.schemas.wire import *
    from natscribe.schemas.workers import *
    from natscribe.settings import *

__all__ = [
    "Client",
    "ClientError",
    "Codec",
    "Consent",
    "DeadLetter",
    "DiarizationResult",
    "DiarizationTask",
    "Erased",
    "ErasureReason",
    "ErrorCode",
    "ErrorDetail",
    "Hit",
    "InboxRefusedError",
    "Kind",
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
    "Redacted",
    "RedactedEntity",
    "Redaction",
    "Replacement",
    "RequestFailedError",
    "ResultFormat",
    "SearchPage",
    "Segment",
    "SegmentsEvent",
    "Settings",
    "SettingsError",
    "SpeakerVoice",
    "SpeakersEvent",
    "SpokenEntity",
    "Stage",
    "State",
    "StorageFullError",
    "StorageStoppedError",
    "SubtitleLimits",
    "TaskDeletedError",
    "TaskIdTakenError",
    "TaskPage",
    "TaskRedaction",
    "TaskStatus",
    "TaskType",
    "TranscriptionResult",
    "TranscriptionTask",
    "TurnEvent",
    "TurnState",
    "UnreachableError",
    "UserQuota",
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
