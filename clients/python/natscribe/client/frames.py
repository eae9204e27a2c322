"""Cuts the sound of a live task into frames, and publishes them; after an outage this goes on without loss."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import nats.errors
from nats.js.errors import APIError

from natscribe.client.command import resume_hint
from natscribe.client.errors import ClientError, OtherSenderError, StorageFullError, UnreachableError
from natscribe.client.permissions import Connection
from natscribe.jetstream.error_codes import QUEUE_FULL, STORAGE_FULL
from natscribe.jetstream.leader_reads import last_message
from natscribe.jetstream.retries import RETRY_FOR_S, is_repeatable
from natscribe.schemas import subjects
from natscribe.schemas.headers import END
from natscribe.schemas.live import LARGEST_FRAME_BYTES, LiveAudio

FRAME_S = 0.1
MAX_PENDING_FRAMES = 8  # frames that are not stored yet
_ACKNOWLEDGED_WITHIN_S = 5.0


class FrameSplitter:
    """Cuts sound into frames of FRAME_S, each of whole samples; Opus is cut only above LARGEST_FRAME_BYTES."""

    def __init__(self, audio: LiveAudio) -> None:
        self._sample = audio.sample_bytes  # 0: not known
        self._frame = self._sample * round(audio.sample_rate * FRAME_S)
        self._left = bytearray()
        self.most_bytes = min(round(self._frame / FRAME_S) or LARGEST_FRAME_BYTES, LARGEST_FRAME_BYTES)  # of a frame

    def cut(self, sound: bytes) -> Iterator[bytes]:
        """Add sound, and yield the frames that it completes."""
        size = self._frame or LARGEST_FRAME_BYTES
        self._left += sound
        while len(self._left) >= size or (self._left and not self._frame):
            yield bytes(self._left[:size])
            del self._left[:size]

    def rest(self) -> bytes:
        """Return the sound that is left and fills no frame; drop a last sample that is not complete."""
        return bytes(self._left[: len(self._left) - len(self._left) % self._sample]) if self._sample else b""


@dataclass(frozen=True)
class _Frame:
    sound: bytes
    is_last: bool


class FramePublisher:
    """Publishes frames one after the other: each when JetStream has acknowledged the one before.

    So their order in the stream is that of their numbers, even if a cluster loses its leader. Frames that wait
    meanwhile are joined into one frame of up to a second, so that a slow network keeps up with the sound.
    """

    def __init__(  # noqa: PLR0913 -- what is sent where, and two times
        self,
        connection: Connection,
        task_id: str,
        first: int,
        *,
        most_bytes: int,
        pause_s: float = 0.5,
        patience_s: float = RETRY_FOR_S,
    ) -> None:
        """Begin to publish; `first` is the number of the next frame, `most_bytes` the size of the largest frame.

        A frame without an acknowledgement is published again after `pause_s` seconds, for up to `patience_s` seconds
        while NATS is connected.
        """
        self._connection = connection
        self._task_id = task_id
        self._next = first
        self._most_bytes = most_bytes
        self._pause_s = pause_s
        self._patience_s = patience_s
        self._waiting: deque[_Frame] = deque()  # the first one is published again and again until it is stored
        self._changed = asyncio.Condition()
        self._failure: ClientError | None = None
        self._publishing = asyncio.create_task(self._publish_for_ever())

    async def put(self, sound: bytes, *, is_last: bool = False) -> None:
        """Queue a frame; wait while MAX_PENDING_FRAMES frames are not stored.

        Raises:
            StorageFullError: NATS has no room for the sound.
            UnreachableError: NATS does not acknowledge the sound.
        """
        await self._until_fewer_than(MAX_PENDING_FRAMES)
        self._waiting.append(_Frame(sound, is_last))
        async with self._changed:
            self._changed.notify_all()

    async def stored(self) -> None:
        """Wait until all frames are stored; for errors see `put`."""
        await self._until_fewer_than(1)

    async def close(self) -> None:
        """Stop publishing; frames that are not stored are dropped."""
        self._publishing.cancel()
        await asyncio.wait([self._publishing])

    async def _until_fewer_than(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < count or self._failure is not None)
        if self._failure is not None:
            raise self._failure

    async def _publish_for_ever(self) -> None:
        while self._failure is None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting)
            self._join()
            try:
                await self._publish(self._waiting[0])
                self._waiting.popleft()
                self._next += 1
            except ClientError as error:
                self._failure = error
            async with self._changed:
                self._changed.notify_all()

    def _join(self) -> None:
        """Join the frames that wait, as far as one frame may hold them."""
        first = self._waiting.popleft()
        while self._waiting and len(first.sound) + len(self._waiting[0].sound) <= self._most_bytes:
            following = self._waiting.popleft()
            first = _Frame(first.sound + following.sound, following.is_last)
        self._waiting.appendleft(first)

    async def _publish(self, frame: _Frame) -> None:
        """Publish a frame until it is stored."""
        loop, deadline, is_sent = asyncio.get_running_loop(), None, False
        headers = {"Nats-Msg-Id": f"{self._task_id}-{self._next}"} | ({END: "true"} if frame.is_last else {})
        js, subject = self._connection.jetstream(), subjects.live_audio(self._task_id)
        while True:
            if await self._was_away():
                deadline = None
            try:
                stored = await js.publish(subject, frame.sound, _ACKNOWLEDGED_WITHIN_S, headers=headers)
            except (ClientError, nats.errors.Error) as error:
                deadline = deadline or loop.time() + self._patience_s
                if _is_full(error) or not is_repeatable(error):
                    raise _refused(self._task_id, error) from error
                if loop.time() > deadline:
                    raise _not_acknowledged(self._task_id) from error
            else:
                if stored.duplicate and not is_sent:
                    raise OtherSenderError(self._task_id)
                return
            is_sent = True
            await asyncio.sleep(self._pause_s)

    async def _was_away(self) -> bool:
        """Wait until NATS is connected; return whether it was away."""
        was_away = not self._connection.is_connected
        while not self._connection.is_connected:
            if self._connection.is_closed:
                raise _closed(self._task_id)
            await asyncio.sleep(self._pause_s)
        return was_away


async def next_number(connection: Connection, stream: str, task_id: str) -> tuple[int, bool]:
    """Return the number that the next frame of a task has, and whether the last frame has ended the sound.

    Raises:
        ClientError: The last frame has no number.
        UnreachableError: NATS does not answer.
    """
    try:
        frame = await last_message(connection, stream, subjects.live_audio(task_id))
    except nats.errors.Error as error:
        message = f"NATS does not say which sound of {task_id} is stored: try again in a moment."
        raise UnreachableError(message) from error
    if frame is None:
        return 0, False
    headers = frame.headers or {}
    number = headers.get("Nats-Msg-Id", "").removeprefix(f"{task_id}-")
    if not number.isdecimal():
        message = f"The last frame of {task_id} has no number in its header Nats-Msg-Id: another program sends there."
        raise ClientError(message)
    return int(number) + 1, END in headers


def _is_full(error: Exception) -> bool:
    """Whether an error says that NATS has no room; its code is 503, so nats-py takes it for an outage."""
    return isinstance(error, APIError) and error.err_code in {QUEUE_FULL, *STORAGE_FULL}


def _refused(task_id: str, error: Exception) -> ClientError:
    if isinstance(error, ClientError):
        return error
    if isinstance(error, APIError) and error.err_code == QUEUE_FULL:
        return StorageFullError(
            "NATS has no room for the sound",
            "the operator has to allow more (LIVE_MAX_BYTES), or to delete tasks; `natscribe doctor` says how",
        )
    if _is_full(error):
        return StorageFullError("NATS has no room for the sound")
    if isinstance(error, nats.errors.ConnectionClosedError):
        return _closed(task_id)
    why = error.description if isinstance(error, APIError) else str(error) or type(error).__name__
    return ClientError(f"NATS refuses the sound ({why}): see the log of the server.")


def _closed(task_id: str) -> UnreachableError:
    return UnreachableError(f"The connection to NATS was closed: when NATS answers, {resume_hint(task_id)}.")


def _not_acknowledged(task_id: str) -> UnreachableError:
    return UnreachableError(
        f"NATS does not acknowledge the sound of {task_id}: when it does, {resume_hint(task_id)}. If this goes on, the "
        "operator has to see whether its disk is full (runbook: StorageAlmostFull)."
    )
