"""Live audio: sends sound while people speak, and yields its text as it is found."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from typing_extensions import Self

from natscribe.client.command import resume_hint
from natscribe.client.errors import ClientError, RequestFailedError, TaskIdTakenError
from natscribe.client.exchange import OTHER_CONTRACT, ask
from natscribe.client.following import Follower, Partials
from natscribe.client.frames import FramePublisher, FrameSplitter, next_number
from natscribe.client.permissions import Connection
from natscribe.client.submission import Submission, build_message
from natscribe.schemas import subjects
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import LiveAudio, LiveTask, Partial
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import TaskRequest, TaskStatus
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult
from natscribe.schemas.wire import Lane, Priority
from natscribe.settings import Settings

ENDED_WITHIN_S = 5.0  # how long a block that an exception leaves may take to end the sound

Event = ProgressEvent | SegmentsEvent | Partial


class Live:
    """A live task: `Client.live` makes it, `async with` begins it, and the end of the block ends the sound.

    An exception that leaves the block ends the sound, too, so that what was said is not lost. One asyncio task may send
    while another one reads the events.
    """

    def __init__(  # noqa: PLR0913 -- what the client knows
        self,
        connection: Connection,
        settings: Settings,
        task: LiveTask | str,
        *,
        audio: LiveAudio | None,
        priority: Priority,
        is_new: bool,
        wait: Callable[[str], Awaitable[Result]],
    ) -> None:
        """`task` is a new task, or the id of one whose sound goes on; `wait` waits for the result of the task id."""
        self._wait = wait
        self._connection = connection
        self._settings = settings
        self._task = task
        self._audio = audio
        self._priority = priority
        self._is_new = is_new
        self._partials = Partials()
        self._end: ProgressEvent | None = None
        self._subscriptions: list[Subscription] = []
        self._has_ended_sound = False

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self._task if isinstance(self._task, str) else self._task.task_id

    async def __aenter__(self) -> Self:
        await self._subscribe()  # before the task is published, so that nothing is missed
        try:
            audio, first = await (self._resume() if isinstance(self._task, str) else self._begin(self._task))
        except BaseException:
            await self._unsubscribe()
            raise
        self._cutter = FrameSplitter(audio)
        self._frames = FramePublisher(self._connection, self.task_id, first, most_bytes=self._cutter.most_bytes)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ending = asyncio.ensure_future(self.end())
        try:
            await asyncio.wait([ending], timeout=ENDED_WITHIN_S if error else None)
        finally:
            if not ending.done():
                ending.cancel()
                await asyncio.wait([ending])
            await self._frames.close()
            await self._unsubscribe()
        if error is None:
            ending.result()
        elif not ending.cancelled():
            ending.exception()  # the block's own error is the one to see

    async def send(self, sound: bytes) -> None:
        """Send any amount of sound; wait while much of it is not stored yet.

        After a lost connection this waits for NATS and goes on without loss.

        Raises:
            RequestFailedError: The task has failed.
            ClientError: The task has ended, or its sound has.
            OtherSenderError: Another program sends sound of the task, too.
            StorageFullError: NATS has no room for the sound.
        """
        if self._has_ended_sound:
            message = f"The sound of {self.task_id} has ended: begin another live task."
            raise ClientError(message)
        for frame in self._cutter.cut(sound):
            if self._end is not None:
                raise _ended(self._end)
            await self._frames.put(frame)

    async def end(self) -> None:
        """End the sound, and wait until all of it is stored; the second call changes nothing.

        Raises:
            StorageFullError: NATS has no room for the sound.
            UnreachableError: NATS does not acknowledge the sound.
        """
        if not self._has_ended_sound and self._end is None:
            for frame in self._cutter.cut(b""):  # a `send` that was cancelled has left them
                await self._frames.put(frame)
            await self._frames.put(self._cutter.rest(), is_last=True)
            self._has_ended_sound = True
        if self._end is None:
            await self._frames.stored()

    def __aiter__(self) -> AsyncGenerator[Event]:
        """Yield what `events` yields."""
        return self.events()

    def events(self) -> AsyncGenerator[Event]:
        """Yield all events of the task until it ends, and its partials."""
        return Follower(self._connection, self._settings, self.task_id, self._partials).with_partials()

    async def result(self) -> TranscriptionResult:
        """Wait until the task ends, and return its result; the sound has to end first.

        Raises:
            RequestFailedError: The task has failed or was cancelled.
        """
        result = await self._wait(self.task_id)
        if not isinstance(result, TranscriptionResult):
            raise ClientError(OTHER_CONTRACT)
        return result

    async def _begin(self, task: LiveTask) -> tuple[LiveAudio, int]:
        if not self._is_new:
            number, has_ended = await next_number(self._connection, self._settings.stream_names.live, task.task_id)
            if number:
                go_on = "" if has_ended else f", or {resume_hint(task.task_id)}"
                message = f"{task.task_id} has sound already: choose another id{go_on}."
                raise TaskIdTakenError(message)
        submission = Submission(self._connection, None, task.audio_file_id, task)
        await submission.submit(subjects.tasks(Lane.LIVE, self._priority), is_new=self._is_new)
        return task.audio, 0

    async def _resume(self) -> tuple[LiveAudio, int]:
        request = build_message(TaskRequest, {"task_id": self.task_id})
        known = await ask(self._connection, subjects.STATUS, request, TaskStatus)
        if not isinstance(known.task, LiveTask):
            message = f"{self.task_id} is no live task: only the sound of a live task goes on."
            raise ClientError(message)
        number, has_ended = await next_number(self._connection, self._settings.stream_names.live, self.task_id)
        if has_ended or known.state.ended:
            message = f"The sound of {self.task_id} has ended: begin another live task."
            raise ClientError(message)
        audio = known.task.audio
        if self._audio not in {None, audio}:
            has = f"codec {audio.codec.value}, rate {audio.sample_rate}, channels {audio.channels}"
            message = f"The sound of {self.task_id} has {has}: go on with the same."
            raise ClientError(message)
        return audio, number

    async def _subscribe(self) -> None:
        for subject, note in (
            (subjects.partials(self.task_id), self._partials.note),
            (subjects.progress(self.task_id), self._note_end),
        ):
            self._subscriptions.append(await self._connection.subscribe(subject, cb=note))

    async def _unsubscribe(self) -> None:
        for subscription in self._subscriptions:
            with suppress(nats.errors.ConnectionClosedError):
                await subscription.unsubscribe()

    async def _note_end(self, message: Msg) -> None:
        with suppress(ValueError):
            event = ProgressEvent.model_validate_json(message.data)
            self._end = event if event.state.ended else None


def _ended(end: ProgressEvent) -> ClientError:
    if end.error is not None:
        return RequestFailedError(end.error)
    how = "was cancelled" if end.state is State.CANCELLED else "has ended after its pause"
    return ClientError(f"{end.task_id} {how}: begin another live task.")
