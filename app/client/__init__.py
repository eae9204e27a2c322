"""A small typed client of the service, for the console command and for other Python programs."""

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
