"""A small typed client: what the console command and other Python services stand on."""

from app.client.client import Client, Lane
from app.client.command import command
from app.client.errors import (
    ClientError,
    LaneFullError,
    NoServerError,
    NoWorkerError,
    RecordingError,
    RequestFailedError,
    TaskDeletedError,
    TaskIdTakenError,
    UnreachableError,
)

__all__ = [
    "Client",
    "ClientError",
    "Lane",
    "LaneFullError",
    "NoServerError",
    "NoWorkerError",
    "RecordingError",
    "RequestFailedError",
    "TaskDeletedError",
    "TaskIdTakenError",
    "UnreachableError",
    "command",
]
