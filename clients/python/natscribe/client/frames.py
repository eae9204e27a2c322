"""Splits the audio of a live task into frames, i.e. messages, and publishes them in order, without loss in outages."""

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
from natscribe.jetstream.repeated_requests import RETRY_FOR_S, is_repeatable
from natscribe.schemas import subjects
from natscribe.schemas.headers import END, FINALIZE
from natscribe.schemas.live import MAX_FRAME_BYTES, LiveAudio

FRAME_S = 0.1
MAX_PENDING_FRAMES = 8  # frames that are not stored yet
REPUBLISH_FRAME_AFTER_S = 0.5  # pause before a frame that was not acknowledged is published again
_ACKNOWLEDGED_WITHIN_S = 5.0


class FrameSplitter:
    """Splits audio into frames of FRAME_S seconds, each with whole samples.

    Opus audio is not split by time: each piece that the caller adds is one frame, or several if it has more than
    MAX_FRAME_BYTES.
    """

    def __init__(self, audio: LiveAudio) -> None:
        self._sample = audio.sample_bytes  # 0: unknown
        self._frame = self._sample * round(audio.sample_rate * FRAME_S)
        self._buffer = bytearray()
        self.max_bytes = min(round(self._frame / FRAME_S) or MAX_FRAME_BYTES, MAX_FRAME_BYTES)  # of a frame

    def split(self, audio: bytes) -> Iterator[bytes]:
        """Add audio to the buffer, and yield the frames that are complete."""
        size = self._frame or MAX_FRAME_BYTES
        self._buffer += audio
        while len(self._buffer) >= size or (self._buffer and not self._frame):
            yield bytes(self._buffer[:size])
            del self._buffer[:size]

    def remainder(self) -> bytes:
        """Return the buffered audio that does not fill a frame, without an incomplete sample at its end."""
        return bytes(self._buffer[: len(self._buffer) - len(self._buffer) % self._sample]) if self._sample else b""

    def drop_remainder(self) -> None:
        """Remove what `remainder` has returned from the buffer."""
        del self._buffer[: len(self.remainder())]


@dataclass(frozen=True)
class _Frame:
    audio: bytes
    is_last: bool
    mark: str | None


@dataclass
class FramePublisher:
    """Publishes frames one at a time: the next one when JetStream has acknowledged the previous one.

    So the stream has the frames in the order of their numbers, even if a cluster loses its leader. Frames that wait for
    the acknowledgement of an earlier one are joined into one frame of up to a second, so that a slow network keeps up.

    `number`: the number of the next frame. `max_bytes`: the size up to which frames are joined.
    """

    connection: Connection
    task_id: str
    number: int  # of the next frame
    max_bytes: int  # size up to which waiting frames are joined

    def __post_init__(self) -> None:
        """Start publishing the frames that `put` adds."""
        self._pending: deque[_Frame] = deque()  # the first one is published again and again until it is stored
        self._changed = asyncio.Condition()
        self._failure: ClientError | None = None
        self._publishing = asyncio.create_task(self._publish_all())

    async def put(self, audio: bytes, *, is_last: bool = False, mark: str | None = None) -> None:
        """Queue a frame to be published; wait first while MAX_PENDING_FRAMES queued frames are not stored yet.

        `is_last`: whether the audio ends with this frame. `mark`: requests the text of the audio up to this frame.

        Raises:
            StorageFullError: NATS has no room for the audio.
            OtherSenderError: Another program sends audio of the task, too.
            UnreachableError: NATS does not acknowledge the audio.
        """
        await self._until_fewer_than(MAX_PENDING_FRAMES)
        self._pending.append(_Frame(audio, is_last, mark))
        async with self._changed:
            self._changed.notify_all()

    async def wait_until_stored(self) -> None:
        """Wait until all added frames are stored; for exceptions see `put`."""
        await self._until_fewer_than(1)

    async def close(self) -> None:
        """Stop publishing; frames that are not stored yet are dropped."""
        self._publishing.cancel()
        await asyncio.wait([self._publishing])

    async def _until_fewer_than(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pending) < count or self._failure is not None)
        if self._failure is not None:
            raise self._failure

    async def _publish_all(self) -> None:
        while self._failure is None:
            async with self._changed:
                await self._changed.wait_for(lambda: self._pending)
            self._join()
            try:
                await self._store(self._pending[0])
                self._pending.popleft()
                self.number += 1
            except ClientError as error:
                self._failure = error
            async with self._changed:
                self._changed.notify_all()

    def _join(self) -> None:
        """Replace the first pending frames, as many as fit into `max_bytes`, by one frame with their audio.

        A frame with a mark is the last one of these.
        """
        first = self._pending.popleft()
        while self._pending and not first.mark and len(first.audio) + len(self._pending[0].audio) <= self.max_bytes:
            following = self._pending.popleft()
            first = _Frame(first.audio + following.audio, following.is_last, following.mark)
        self._pending.appendleft(first)

    async def _store(self, frame: _Frame) -> None:
        """Publish a frame, repeatedly if necessary, until JetStream has stored it.

        Raises:
            ClientError: NATS refuses the frame, or has not acknowledged it for RETRY_FOR_S seconds while connected.
        """
        loop, deadline, is_repeated = asyncio.get_running_loop(), None, False
        while True:
            if await self._wait_until_connected():
                deadline = None
            error = await self._publish(frame, is_repeated=is_repeated)
            if error is None:
                return
            deadline = deadline or loop.time() + RETRY_FOR_S
            if loop.time() > deadline:
                raise _not_acknowledged(self.task_id) from error
            is_repeated = True
            await asyncio.sleep(REPUBLISH_FRAME_AFTER_S)

    async def _publish(self, frame: _Frame, *, is_repeated: bool) -> Exception | None:
        """Publish a frame once; return None if it is stored, or the error after which to publish it again.

        `is_repeated`: whether the frame was published before, so that JetStream may drop it as a duplicate.

        Raises:
            ClientError: NATS refuses the frame, or another program has published a frame with the same number.
        """
        headers = {"Nats-Msg-Id": f"{self.task_id}-{self.number}"} | ({END: "true"} if frame.is_last else {})
        headers |= {FINALIZE: frame.mark} if frame.mark else {}
        js, subject = self.connection.jetstream(), subjects.live_audio(self.task_id)
        try:
            stored = await js.publish(subject, frame.audio, _ACKNOWLEDGED_WITHIN_S, headers=headers)
        except (ClientError, nats.errors.Error) as error:
            if _is_full(error) or not is_repeatable(error):
                raise _refused(self.task_id, error) from error
            return error
        if stored.duplicate and not is_repeated:
            raise OtherSenderError(self.task_id)
        return None

    async def _wait_until_connected(self) -> bool:
        """Wait until NATS is connected; return whether the call had to wait.

        Raises:
            UnreachableError: The connection was closed.
        """
        was_disconnected = not self.connection.is_connected
        while not self.connection.is_connected:
            if self.connection.is_closed:
                raise _closed(self.task_id)
            await asyncio.sleep(REPUBLISH_FRAME_AFTER_S)
        return was_disconnected


async def next_number(connection: Connection, stream: str, task_id: str) -> tuple[int, bool]:
    """Return the number of the next frame of a live task, and whether the last stored frame ends the audio.

    A task without stored frames has the next number 0. `stream`: the name of the stream of live audio.

    Raises:
        ClientError: The last frame has no number.
        UnreachableError: NATS does not reply.
    """
    try:
        frame = await last_message(connection, stream, subjects.live_audio(task_id))
    except nats.errors.Error as error:
        what = f"NATS does not report which audio of {task_id} is stored"
        raise UnreachableError(what, "try again in a moment") from error
    if frame is None:
        return 0, False
    headers = frame.headers or {}
    number = headers.get("Nats-Msg-Id", "").removeprefix(f"{task_id}-")
    if not number.isdecimal():
        what = f"The last frame of {task_id} has no number in its header Nats-Msg-Id"
        raise ClientError(what, "another program sends there")
    return int(number) + 1, END in headers


def _is_full(error: Exception) -> bool:
    """Whether an error means that NATS has no room left.

    `is_repeatable` does not distinguish such an error from an outage, because both have the code 503.
    """
    return isinstance(error, APIError) and error.err_code in {QUEUE_FULL, *STORAGE_FULL}


def _refused(task_id: str, error: Exception) -> ClientError:
    if isinstance(error, ClientError):
        return error
    if isinstance(error, APIError) and error.err_code == QUEUE_FULL:
        return StorageFullError(
            "NATS has no room for the audio",
            "the operator has to allow more (LIVE_MAX_BYTES), or to delete tasks; see `natscribe doctor`",
        )
    if _is_full(error):
        return StorageFullError("NATS has no room for the audio")
    if isinstance(error, nats.errors.ConnectionClosedError):
        return _closed(task_id)
    why = error.description if isinstance(error, APIError) else str(error) or type(error).__name__
    return ClientError(f"NATS refuses the audio ({why})", "see the log of the server")


def _closed(task_id: str) -> UnreachableError:
    return UnreachableError("The connection to NATS was closed", f"when NATS answers, {resume_hint(task_id)}")


def _not_acknowledged(task_id: str) -> UnreachableError:
    return UnreachableError(
        f"NATS does not acknowledge the audio of {task_id}",
        f"when it does, {resume_hint(task_id)}. If this persists, the operator has to check whether its disk is full "
        "(runbook: StorageAlmostFull)",
    )
