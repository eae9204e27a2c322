"""The typed client of the service, for the console command and for other Python programs."""

from natscribe.client.client import Client
from natscribe.client.command import command
from natscribe.client.errors import (
    ClientError,
    InboxRefusedError,
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
from natscribe.client.live import Live
from natscribe.client.results import format_result
from natscribe.client.stores import UploadCallback

__all__ = [
    "Client",
    "ClientError",
    "InboxRefusedError",
    "Live",
    "NoJetStreamError",
    "NoServerError",
    "NoWorkerError",
    "NotAllowedError",
    "OptionError",
    "OtherSenderError",
    "QueueFullError",
    "RecordingError",
    "RequestFailedError",
    "SettingsError",
    "StorageFullError",
    "StorageStoppedError",
    "TaskDeletedError",
    "TaskIdTakenError",
    "UnreachableError",
    "UploadCallback",
    "command",
    "format_result",
]
