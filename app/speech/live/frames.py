"""Reads the frames of one live task, i.e. the messages with its audio, from JetStream, in order.

Frames are read in pages, each from the end of the page before, so that no frame is lost in an outage of NATS or when
the stream gets a new leader. A subscription to the frames' subject signals when there are new frames.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from natscribe.jetstream.repeated_requests import retry_until_reply
from natscribe.jetstream.stream_pages import PENDING, page
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import END, FINALIZE, MARK_PATTERN
from natscribe.schemas.live import Codec, LiveTask
from natscribe.schemas.wire import TASK_ID_PATTERN

from app.runtime.errors import PermanentError, TransientError
from app.runtime.supervision import wait_up_to
from app.speech.live.frame_offsets import FrameOffset
from app.storage.jetstream.server_time import server_time

MAX_FRAMES_PER_PAGE = 50  # frames in a page: five seconds of audio in frames of the usual length
GATHER_S = 0.05  # after a page that was not full, so that a page holds more than one frame
POLL_S = 1.0  # the longest pause between two reads: the subscription may miss a frame
SILENCE_REPORT_EVERY_S = 5.0  # how often a reader yields empty audio while the client is silent
MIN_IDLE_S = 30.0  # the least time that a new reader gives the client to resume: an outage may have stopped both
_MAX_FRAMES = 10**9  # every number of a frame is below this

_MAX_SILENCE_S = 60  # for one gap, as docs/contract.md says
_SILENCE = {Codec.PCM_S16LE: b"\0", Codec.MULAW: b"\xff", Codec.ALAW: b"\xd5"}

GAP = (
    "The frame {number} is missing, and {frames} in all, without which opus cannot be decoded: publish each frame until"
    " JetStream acknowledges it, with its own number."
)


@dataclass(frozen=True, slots=True)
class JoinedFrames:
    """The audio of successive frames of a live task, joined; silence replaces frames that were never stored.

    `frames`: how many frames `data` covers, stored or not. `silence`: how many bytes at the start of `data` are silence
    for frames that were never stored. `last`: no audio follows. `waiting`: how many stored frames are not read yet.
    `mark`: with which the client requests the text of the audio so far; None: it does not.
    """

    data: bytes
    frames: int = 0
    silence: int = 0
    last: bool = False
    waiting: int = 0
    mark: str | None = None


class FrameReader:
    """Reads the frames of one live task until the client ends the audio, or sends no frames for too long."""

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
        """The frame offset after the last frame that `read` has read."""
        return FrameOffset(self._after, self.count, self.size)

    async def read(self, start: FrameOffset, until: int | None = None) -> AsyncGenerator[JoinedFrames, None]:
        """Yield the audio from the offset `start` on, as soon as the stream stores it.

        The last `JoinedFrames` have `last` set. While the client sends no frames, `JoinedFrames` without audio are
        yielded every few seconds. If it sends none for the task's `idle_seconds`, the audio ends. `until`: the number
        of the frame before which to stop; None: read to the end of the audio.

        Raises:
            PermanentError: audio_unreadable: a frame does not hold whole samples, or frames are missing in audio that
                cannot be decoded without them.
            TransientError: JetStream does not reply although the connection is open.
        """
        self._after, self.count, self.size = start.sequence, start.frame, start.size
        await self._is_same_stream()
        async with aclosing(self._pages()) as pages:
            async for messages in pages:
                has_more = True
                while has_more:
                    frames = self._joined(messages, until)
                    if frames.frames or not messages:
                        yield frames
                    if frames.last or (until is not None and self.count >= until):
                        return
                    has_more = frames.mark is not None
        yield JoinedFrames(b"", last=True)

    async def _pages(self) -> AsyncGenerator[Sequence[RawStreamMsg], None]:
        """Yield pages of up to 50 stored messages; while the client sends no frames, an empty page every few seconds.

        The generator ends when the client has sent no frames for the task's `idle_seconds`.
        """
        loop = asyncio.get_running_loop()
        reported_at = received_at = loop.time()
        has_caught_up = False
        async with self._published() as published:
            while True:
                published.clear()
                requested_at, count = loop.time(), self.count
                messages = await self._page(self._after + 1, MAX_FRAMES_PER_PAGE)
                now = loop.time()
                received_at += now - requested_at  # an outage is no silence of the client
                if messages:
                    yield messages
                    received_at = now if self.count > count else received_at
                    await asyncio.sleep(0 if _pending(messages) else GATHER_S)
                elif not has_caught_up:
                    has_caught_up, received_at = True, loop.time() - await self._silent_for()
                elif now - received_at >= self._task.idle_seconds and await self._is_same_stream():
                    return
                else:
                    if now - reported_at >= SILENCE_REPORT_EVERY_S:
                        reported_at = now
                        yield messages
                    await wait_up_to(POLL_S, published)

    @asynccontextmanager
    async def _published(self) -> AsyncGenerator[asyncio.Event]:
        """Subscribe to the task's frames for the `with` block; yield an event that is set when a frame is published.

        The event is only a hint, because a NATS subscription may miss a message.
        """
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
        """Return how many seconds ago the client's last frame was stored; 0 if unknown.

        The audio ends when the client has sent no frames for `idle_seconds`. So that a client still has MIN_IDLE_S
        seconds to send more, even after a longer silence, at most `idle_seconds` - MIN_IDLE_S is returned.
        """
        if self._stored_at is None:
            return 0.0
        try:
            silent = (await server_time(self._nats, self._stream) - self._stored_at).total_seconds()
        except NatsError:
            return 0.0
        return min(max(silent, 0.0), max(self._task.idle_seconds - MIN_IDLE_S, 0.0))

    async def _page(self, start: int, count: int) -> list[RawStreamMsg]:
        """Read up to `count` messages with frames, from the stream sequence `start` on; wait during an outage of NATS.

        Raises:
            TransientError: JetStream does not reply although the connection is open.
        """
        read = partial(page, self._nats, self._stream, self._subject, start=start, count=count)
        while True:
            try:
                return await retry_until_reply(read)
            except NatsError as error:
                if self._nats.is_connected:
                    message = "The frames of the live task could not be read from NATS: the service tries again."
                    raise TransientError(ErrorCode.INTERNAL, message) from error
            await asyncio.sleep(POLL_S)

    async def _is_same_stream(self) -> bool:
        """Return whether the stream is still the one whose messages were read; if not, go back to the stream's start.

        A recreated stream counts its sequences from 1 again, so new frames may have sequences that were read already.
        If it contains frames that were read from the earlier stream, these are skipped by their frame numbers.

        Raises:
            TransientError: JetStream does not reply although the connection is open.
        """
        if not self._after:
            return True
        messages = await self._page(self._after, 1)
        if messages and (self._number(messages[0]) or 0) < self.count:  # frames before it have lower numbers
            return True
        self._after = 0
        return False

    def _joined(self, messages: Sequence[RawStreamMsg], until: int | None) -> JoinedFrames:
        """Join the new frames in `messages`, up to a frame with a mark, the next missing one, or before number `until`.

        If frames are missing before the first new frame, silence replaces them.

        Raises:
            PermanentError: audio_unreadable: a frame does not hold whole samples, or frames are missing in audio that
                cannot be decoded without them.
        """
        data, before, silence, last, mark = list[bytes](), self.count, 0, False, None
        for number, message in self._new_frames(messages, until):
            body = message.data or b""
            is_last = (message.headers or {}).get(END) == "true"
            error = None if is_last else self._task.audio.frame_error(number, len(body))
            if data and (error or number > self.count):  # first return the audio before this frame
                break
            if error:
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, error)
            if number > self.count:
                data.append(self._silence(number - self.count, messages))
                silence = len(data[-1])
            data.append(body)
            self.count, self._after, self._stored_at = number + 1, message.seq or 0, message.time
            last, mark = is_last, (message.headers or {}).get(FINALIZE)
            if last or mark:
                break
        self.size += sum(map(len, data))
        return JoinedFrames(b"".join(data), self.count - before, silence, last, _pending(messages), mark)

    def _new_frames(self, messages: Sequence[RawStreamMsg], until: int | None) -> Iterator[tuple[int, RawStreamMsg]]:
        """Yield each frame that was not read before, with its number; skip messages that are no frames of the task.

        `until`: the number of the frame before which to stop; None: yield all.
        """
        for message in messages:
            number = self._number(message)
            if number is None or number < self.count:
                self.refused += number is None
                self._after = message.seq or 0
            elif until is not None and number >= until:
                self.count = until
                return
            else:
                yield number, message

    def _silence(self, frames: int, messages: Sequence[RawStreamMsg]) -> bytes:
        """Return silence that replaces `frames` missing frames, in the encoding of the audio; at most 60 s.

        A missing frame is assumed to have the average length of the frames before it; at the start of the audio, that
        of the frames in `messages`.

        Raises:
            PermanentError: audio_unreadable: the audio cannot be decoded without the missing frames.
        """
        audio = self._task.audio
        if audio.codec not in _SILENCE:
            raise PermanentError(ErrorCode.AUDIO_UNREADABLE, GAP.format(number=self.count, frames=frames))
        whole = audio.sample_bytes
        sizes = [len(message.data or b"") for message in messages]
        average = self.size / self.count if self.count else sum(sizes) / len(sizes)
        size = min(round(frames * average), _MAX_SILENCE_S * audio.sample_rate * whole)
        return _SILENCE[audio.codec] * (size // whole * whole)

    def _number(self, message: RawStreamMsg) -> int | None:
        """Return the number of a frame, from its header `Nats-Msg-Id`; None if the message is no frame of this task.

        A message whose mark is invalid is no frame, either.
        """
        headers = message.headers or {}
        task_id, _, number = headers.get("Nats-Msg-Id", "").rpartition("-")
        if task_id != self._task.task_id or not number.isdecimal() or not number.isascii():
            return None
        if FINALIZE in headers and not re.fullmatch(MARK_PATTERN, headers[FINALIZE]):
            return None
        return int(number) if len(number) < len(str(_MAX_FRAMES)) else None


async def erase(nats: Client, stream: str, task_id: str) -> None:
    """Erase the frames of a live task from the stream.

    Raises:
        NatsError: NATS does not reply.
        ValueError: The id is invalid: in a subject it might match the frames of other tasks, too.
    """
    if not re.fullmatch(TASK_ID_PATTERN, task_id):
        message = f"{task_id!r} is no task id"
        raise ValueError(message)
    await nats.jetstream().purge_stream(stream, subject=subjects.live_audio(task_id))


def _pending(messages: Sequence[RawStreamMsg]) -> int:
    """Return how many frames the stream stores after the last one in `messages` (a page of them); 0 if it is empty."""
    return int((messages[-1].headers or {}).get(PENDING, "0")) if messages else 0
