"""A small typed client: what the console command and other Python services stand on."""

from app.client.client import Client, Lane
from app.client.errors import ClientError, LaneFullError, RecordingError, RequestFailedError, UnreachableError

__all__ = [
    "Client",
    "ClientError",
    "Lane",
    "LaneFullError",
    "RecordingError",
    "RequestFailedError",
    "UnreachableError",
]
