"""A small typed client: what the console command and other Python services stand on."""

from app.client.client import Client, TaskQueue, written
from app.client.command import command
from app.client.errors import (
    ClientError,
    LaneFullError,
    NoServerError,
    NoWorkerError,
    OptionError,
    RecordingError,
    RequestFailedError,
    TaskDeletedError,
    TaskIdTakenError,
    UnreachableError,
)

__all__ = [
    "Client",
    "ClientError",
    "LaneFullError",
    "NoServerError",
    "NoWorkerError",
    "OptionError",
    "RecordingError",
    "RequestFailedError",
    "TaskDeletedError",
    "TaskIdTakenError",
    "TaskQueue",
    "UnreachableError",
    "command",
    "written",
]
