"""Reads the frames of one live task from JetStream, in order.

Frames are read in pages, each from the end of the page before, so that no frame is lost in an outage of NATS or with a
new leader. A subscription to the frames' subject shows when there is a next page.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from natscribe.jetstream.retries import retry_until_reply
from natscribe.jetstream.stream_pages import PENDING, page
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import END
from natscribe.schemas.live import Codec, LiveTask
from natscribe.schemas.wire import TASK_ID_PATTERN

from app.errors import PermanentError, TransientError
from app.jetstream.server_time import server_time
from app.live.frame_offsets import FrameOffset

FRAMES_AT_ONCE = 50  # frames in a page: five seconds of sound in the usual frames
GATHER_S = 0.05  # after a page that was not full, so that a page holds more than one frame
POLL_S = 1.0  # the longest pause between two reads: the subscription may miss a frame
SILENCE_REPORT_EVERY_S = 5.0  # so often a reader learns that the client is silent
MIN_IDLE_S = 30.0  # up to this time anew for the client when a worker begins to read: an outage may have ended both
_MOST_FRAMES = 10**9  # every number of a frame is below this

_LONGEST_SILENCE_S = 60  # for one gap, as docs/contract.md says
_SILENCE = {Codec.PCM_S16LE: b"\0", Codec.MULAW: b"\xff", Codec.ALAW: b"\xd5"}

GAP = (
    "The frame {number} is missing, and {frames} in all, without which opus cannot be read: publish each frame until"
    " JetStream acknowledges it, with its own number."
)
UNREACHABLE = "The frames of the live task could not be read from NATS: the service tries again."


@dataclass(frozen=True, slots=True)
class JoinedFrames:
    """The bytes of frames in a row; silence stands in place of frames that were never stored."""

    data: bytes
    frames: int = 0  # how many frames, stored or not
    silence: int = 0  # bytes of silence at the start, for frames that were never stored
    last: bool = False
    waiting: int = 0  # frames that are stored and not read yet


class FrameReader:
    """The reader of one task's frames, until the client ends the sound or is silent for too long."""

    def __init__(self, nats: Client, stream: str, task: LiveTask) -> None:
        self._nats = nats
        self._stream = stream
        self._task = task
        self._subject = subjects.live_audio(task.task_id)
        self._after = 0  # stream sequence up to which messages are read
        self._stored_at: datetime | None = None  # when the last frame was stored, in the time of the server
        self.size = 0  # bytes so far, silence included
        self.count = 0  # number of the next frame
        self.refused = 0  # messages so far that are no frames of the task

    @property
    def offset(self) -> FrameOffset:
        """The place after all frames that `read` has read so far."""
        return FrameOffset(self._after, self.count, self.size)

    async def read(self, start: FrameOffset, until: int | None = None) -> AsyncGenerator[JoinedFrames, None]:
        """Yield sound from the place `start` on, as soon as it is stored; the item that ends the sound has `last` set.

        While the client is silent, yield empty sound every few seconds; after the task's `idle_seconds`, yield the
        empty end of the sound. `until`: stop before the frame with this number.

        Raises:
            PermanentError: audio_unreadable: a frame does not hold whole samples, or frames are missing in sound that
                cannot be read without them.
            TransientError: JetStream does not answer although the connection is open.
        """
        loop = asyncio.get_running_loop()
        reported_at = received_at = loop.time()
        has_caught_up = False
        self._after, self.count, self.size = start.sequence, start.frame, start.size
        await self._is_same_stream()
        async with self._published() as published:
            while True:
                published.clear()
                requested_at = loop.time()
                messages = await self._page(self._after + 1, FRAMES_AT_ONCE)
                received_at += loop.time() - requested_at  # an outage is no silence of the client
                if messages:
                    sound = self._joined(messages, until)
                    if sound.frames:
                        received_at = loop.time()
                        yield sound
                    if sound.last or (until is not None and self.count >= until):
                        return
                    await asyncio.sleep(0 if sound.waiting else GATHER_S)
                elif not has_caught_up:
                    has_caught_up, received_at = True, loop.time() - await self._silent_for()
                elif loop.time() - received_at >= self._task.idle_seconds and await self._is_same_stream():
                    yield JoinedFrames(b"", last=True)
                    return
                else:
                    if loop.time() - reported_at >= SILENCE_REPORT_EVERY_S:
                        reported_at = loop.time()
                        yield JoinedFrames(b"")
                    await _wait(published)

    @asynccontextmanager
    async def _published(self) -> AsyncGenerator[asyncio.Event]:
        """Yield an event that is set when a frame is published; the subscription may miss a frame."""
        published = asyncio.Event()

        async def note(_: Msg) -> None:
            published.set()

        subscription = await self._nats.subscribe(self._subject, cb=note)
        try:
            yield published
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def _silent_for(self) -> float:
        """Return for how many seconds the client has been silent already, counted from its last stored frame.

        Return less where needed, so that the client has at least LEAST_IDLE_S (or `idle_seconds`, if less) to go on.
        """
        if self._stored_at is None:
            return 0.0
        try:
            silent = (await server_time(self._nats, self._stream) - self._stored_at).total_seconds()
        except NatsError:
            return 0.0
        return min(max(silent, 0.0), max(self._task.idle_seconds - MIN_IDLE_S, 0.0))

    async def _page(self, start: int, count: int) -> list[RawStreamMsg]:
        """Return up to `count` messages from a stream sequence on; wait while NATS is away.

        Raises:
            TransientError: JetStream does not answer although the connection is open.
        """
        read = partial(page, self._nats, self._stream, self._subject, start=start, count=count)
        while True:
            try:
                return await retry_until_reply(read)
            except NatsError as error:
                if self._nats.is_connected:
                    raise TransientError(ErrorCode.INTERNAL, UNREACHABLE) from error
            await asyncio.sleep(POLL_S)

    async def _is_same_stream(self) -> bool:
        """Return whether the stream still holds the last message that was read; if not, go on at the stream's start.

        A stream that was made anew counts its sequences from 1, so frames may be at sequences that were read already.
        Frames keep their numbers, so that none is heard twice.

        Raises:
            TransientError: JetStream does not answer although the connection is open.
        """
        if not self._after:
            return True
        found = await self._page(self._after, 1)
        if found and (self._number(found[0]) or 0) < self.count:  # and those before it, which have lower numbers
            return True
        self._after = 0
        return False

    def _joined(self, messages: Sequence[RawStreamMsg], until: int | None) -> JoinedFrames:
        """Join frames up to the next missing frame; skip frames that were read before, and messages that are no frames.

        If the first frames are missing, silence stands in their place.

        Raises:
            PermanentError: audio_unreadable: a frame does not hold whole samples, or frames are missing in sound that
                cannot be read without them.
        """
        data, before, silence, last = list[bytes](), self.count, 0, False
        for message in messages:
            number = self._number(message)
            if number is None or number < self.count:
                self.refused += number is None
                self._after = message.seq or 0
                continue
            if until is not None and number >= until:
                self.count = until
                break
            is_last = (message.headers or {}).get(END) == "true"
            invalid = None if is_last else self._task.audio.frame_error(number, len(message.data or b""))
            if data and (invalid or number > self.count):  # the sound before comes first
                break
            if invalid:
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, invalid)
            if number > self.count:
                data.append(self._silence(number - self.count, messages))
                silence = len(data[-1])
                self.size += silence
            self.count, self._after, self._stored_at = number + 1, message.seq or 0, message.time
            data.append(message.data or b"")
            self.size += len(data[-1])
            if last := is_last:
                break
        waiting = int((messages[-1].headers or {}).get(PENDING, "0"))
        return JoinedFrames(b"".join(data), self.count - before, silence, last, waiting)

    def _silence(self, frames: int, messages: Sequence[RawStreamMsg]) -> bytes:
        """Return silence for missing frames: each as long as the frames before on average, or else as `messages`.

        Raises:
            PermanentError: audio_unreadable: the sound cannot be read without the frames.
        """
        audio = self._task.audio
        if audio.codec not in _SILENCE:
            raise PermanentError(ErrorCode.AUDIO_UNREADABLE, GAP.format(number=self.count, frames=frames))
        whole = audio.sample_bytes
        sizes = [len(each.data or b"") for each in messages]
        average = self.size / self.count if self.count else sum(sizes) / len(sizes)
        size = min(round(frames * average), _LONGEST_SILENCE_S * audio.sample_rate * whole)
        return _SILENCE[audio.codec] * (size // whole * whole)

    def _number(self, message: RawStreamMsg) -> int | None:
        """Return the number of a frame, which its message id has; None if the message is no frame of this task."""
        task_id, _, number = (message.headers or {}).get("Nats-Msg-Id", "").rpartition("-")
        if task_id != self._task.task_id or not number.isdecimal() or not number.isascii():
            return None
        return int(number) if len(number) < len(str(_MOST_FRAMES)) else None


async def erase(nats: Client, stream: str, task_id: str) -> None:
    """Remove the frames of a task.

    Raises:
        NatsError: NATS does not answer.
        ValueError: The id is invalid: in a subject it might stand for the frames of other tasks, too.
    """
    if not re.fullmatch(TASK_ID_PATTERN, task_id):
        message = f"{task_id!r} is no task id"
        raise ValueError(message)
    await nats.jetstream().purge_stream(stream, subject=subjects.live_audio(task_id))


async def _wait(published: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(POLL_S):
            await published.wait()
