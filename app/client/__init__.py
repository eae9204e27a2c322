"""A small typed client of the service, for the console command and for other Python programs."""

from app.client.client import Client, TaskQueue, written
from app.client.command import command
from app.client.errors import (
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

__all__ = [
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
    "TaskQueue",
    "UnreachableError",
    "command",
    "written",
]
