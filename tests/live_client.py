"""A program that sends live audio by the rules of docs/contract.md, with a NATS library alone."""

import json
from collections.abc import Sequence
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.schemas import subjects
from natscribe.schemas.headers import END, FINALIZE
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.wire import Priority, TaskType

from tests.waiting import eventually

ACKNOWLEDGED_WITHIN_S = 5.0
STORED_WITHIN_S = 120.0


class LiveClient:
    """Publishes a live task and its frames, each again and again until it is stored."""

    def __init__(self, nc: Client, task_id: str, frames: Sequence[bytes], audio: LiveAudio) -> None:
        self._js = nc.jetstream(timeout=ACKNOWLEDGED_WITHIN_S)
        self.task_id = task_id
        self._frames = frames
        self._audio = audio

    async def begin(self, **options: object) -> None:
        """Publish the task."""
        task = {"task_id": self.task_id, "user_id": 7, "audio": self._audio.model_dump(mode="json")} | options
        await self._until_stored(
            subjects.tasks(TaskType.LIVE, Priority.NORMAL), json.dumps(task).encode(), {"Nats-Msg-Id": self.task_id}
        )

    async def send(self, first: int = 0, stop: int | None = None, *, end: bool = True) -> None:
        """Publish the frames from `first` to before `stop`; the very last one ends the audio, unless `end` is false."""
        for number in range(len(self._frames))[first:stop]:
            await self.send_frame(number, end=end and number == len(self._frames) - 1)

    async def send_frame(self, number: int, *, end: bool = False, mark: str | None = None) -> bool:
        """Publish a frame, perhaps with a mark, until it is stored; return whether it was stored before.

        Raises:
            APIError: The stream is full.
        """
        headers = {"Nats-Msg-Id": f"{self.task_id}-{number}"} | ({END: "true"} if end else {})
        headers |= {FINALIZE: mark} if mark is not None else {}
        return await self._until_stored(subjects.live_audio(self.task_id), self._frames[number], headers)

    async def _until_stored(self, subject: str, body: bytes, headers: dict[str, str]) -> bool:
        state = await eventually(partial(self._stored, subject, body, headers), within=STORED_WITHIN_S)
        return state == "before"

    async def _stored(self, subject: str, body: bytes, headers: dict[str, str]) -> str | None:
        try:
            acknowledged = await self._js.publish(subject, body, headers=headers)
        except NatsError as error:
            if isinstance(error, APIError) and error.err_code == QUEUE_FULL:
                raise
            return None
        return "before" if acknowledged.duplicate else "now"
