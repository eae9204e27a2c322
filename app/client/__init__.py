"""A small typed client: what the console command and other Python services stand on."""

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
