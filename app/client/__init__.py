"""A small typed client, for the console command and other Python services."""

from app.client.client import Client, TaskQueue, written
from app.client.command import command
from app.client.errors import (
    ClientError,
    NoServerError,
    NoWorkerError,
    OptionError,
    QueueFullError,
    RecordingError,
    RequestFailedError,
    TaskDeletedError,
    TaskIdTakenError,
    UnreachableError,
)

__all__ = [
    "Client",
    "ClientError",
    "NoServerError",
    "NoWorkerError",
    "OptionError",
    "QueueFullError",
    "RecordingError",
    "RequestFailedError",
    "TaskDeletedError",
    "TaskIdTakenError",
    "TaskQueue",
    "UnreachableError",
    "command",
    "written",
]
