"""Live transcription: sends audio while people speak, and yields the text while it is transcribed."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from types import TracebackType
from uuid import uuid4

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from typing_extensions import Self

from natscribe.client.command import resume_hint
from natscribe.client.errors import ClientError, RequestFailedError, TaskIdTakenError
from natscribe.client.exchange import INCOMPATIBLE, request
from natscribe.client.finalization import Finalization
from natscribe.client.following import Event, Follower, Partials
from natscribe.client.frames import FramePublisher, FrameSplitter, next_number
from natscribe.client.live_speakers import LiveSpeakers
from natscribe.client.permissions import Connection
from natscribe.client.submission import Submission, build_message
from natscribe.schemas import subjects
from natscribe.schemas.kinds import Result
from natscribe.schemas.live import LiveAudio, LiveTask, Partial, SpeakersEvent, TurnEvent
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import TaskRequest, TaskStatus
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult
from natscribe.schemas.voices import Voice
from natscribe.schemas.wire import Priority, TaskType
from natscribe.settings import Settings

ENDED_WITHIN_S = 5.0  # limit for ending the audio when an exception leaves the block


@dataclass(eq=False, repr=False)
class Live:
    """A live transcription from `Client.live`: `async with` submits its task, and the end of the block ends its audio.

    An exception that leaves the block ends the audio, too, so that the speech so far is transcribed. One asyncio task
    may send audio while another one reads the events.

    `speakers`: who speaks when, according to the events that `events` has yielded so far.
    """

    _connection: Connection
    _settings: Settings
    _task: LiveTask | str  # a new task, or the id of a task to resume
    _audio: LiveAudio | None  # the format that the audio of a resumed task must have; None: any
    _priority: Priority
    _is_new: bool  # whether the task id was just generated, so that the service cannot have the task
    _wait: Callable[[str], Awaitable[Result]]  # waits until the task with an id has ended, and returns its result
    _voices: Callable[[int | str], AsyncIterator[Voice]]  # yields the voices of a user

    def __post_init__(self) -> None:
        self._partials = Partials()
        self._user_id: int | str = 0 if isinstance(self._task, str) else self._task.user_id
        self.speakers = LiveSpeakers(self._voices_of_user)
        self._end: ProgressEvent | None = None
        self._audio_ended = False
        self._has_turns = isinstance(self._task, LiveTask) and self._task.turns
        self._adding = asyncio.Lock()  # of frames, which have to stay in order

    @property
    def task_id(self) -> str:
        """The id of the live task, which another program can resume or follow."""
        return self._task if isinstance(self._task, str) else self._task.task_id

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            for subject, receive in (  # before the task is published, so that no event is missed
                (subjects.partials(self.task_id), self._partials.receive),
                (subjects.progress(self.task_id), self._receive_progress),
            ):
                subscription = await self._connection.subscribe(subject, cb=receive)
                opened.push_async_callback(_unsubscribe, subscription)
            audio, first = await (self._resume() if isinstance(self._task, str) else self._submit(self._task))
            if self._has_turns:  # the first turn needs audio, which is not sent yet
                turns = await self._connection.subscribe(subjects.turns(self.task_id), cb=self._partials.receive_turn)
                opened.push_async_callback(_unsubscribe, turns)
            self._splitter = FrameSplitter(audio)
            self._frames = FramePublisher(self._connection, self.task_id, first, max_bytes=self._splitter.max_bytes)
            opened.push_async_callback(self._frames.close)
            follower = Follower(self._connection, self._settings, self.task_id)
            self._finalization = Finalization(follower, _task_ended)
            opened.push_async_callback(self._finalization.close)
            self._opened = opened.pop_all()
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
            await self._opened.aclose()
        if error is None:
            ending.result()
        elif not ending.cancelled():
            ending.exception()  # the block's own error is raised instead

    async def send(self, audio: bytes) -> None:
        """Send audio of any length, split into frames (one message each); wait while too many are not acknowledged.

        If the connection is lost, the call waits until NATS is back, and then continues without loss.

        Raises:
            RequestFailedError: The task has failed.
            ClientError: The task or its audio has ended.
            OtherSenderError: Another program sends audio of the task, too.
            StorageFullError: NATS has no room for the audio.
        """
        if self._audio_ended:
            raise _audio_ended(self.task_id)
        async with self._adding:
            for frame in self._splitter.split(audio):
                if self._end is not None:
                    raise _task_ended(self._end)
                await self._frames.put(frame)

    async def finalize(self, mark: str | None = None) -> None:
        """Request the text of all audio sent so far, without waiting for a pause, and return when it is final.

        Its segments events are stored then; the last one of them has the mark in `finalized`. `mark`: None: a new one.

        Raises:
            ClientError: The mark is invalid, or the task or its audio has ended; or as for `send`.
        """
        if self._audio_ended:
            raise _audio_ended(self.task_id)
        mark = mark or uuid4().hex
        async with self._adding:
            final = await self._finalization.expect(mark)
            for frame in self._splitter.split(b""):  # frames of a `send` that was cancelled
                await self._frames.put(frame)
            await self._frames.put(self._splitter.remainder(), mark=mark)
            self._splitter.drop_remainder()
        await final

    async def end(self) -> None:
        """End the audio, and wait until all of it is stored; a second call has no effect.

        Raises:
            StorageFullError: NATS has no room for the audio.
            UnreachableError: NATS does not acknowledge the audio.
        """
        async with self._adding:
            if not self._audio_ended and self._end is None:
                for frame in self._splitter.split(b""):  # frames of a `send` that was cancelled
                    await self._frames.put(frame)
                await self._frames.put(self._splitter.remainder(), is_last=True)
                self._audio_ended = True
        if self._end is None:
            await self._frames.wait_until_stored()

    def __aiter__(self) -> AsyncGenerator[Event | Partial | TurnEvent]:
        """Return an iterator over all events and partial results, like `events`."""
        return self.events()

    async def events(self) -> AsyncGenerator[Event | Partial | TurnEvent]:
        """Yield all events and partial results of the task, and its turns if it has the option, until the task ends.

        Before an event is yielded, the attribute `speakers` of this object is updated.
        """
        self.speakers = LiveSpeakers(self._voices_of_user)
        follower = Follower(self._connection, self._settings, self.task_id, self._partials)
        async with aclosing(follower.with_partials()) as events:
            async for event in events:
                if isinstance(event, SegmentsEvent | SpeakersEvent):
                    await self.speakers.add(event)
                yield event

    def _voices_of_user(self) -> AsyncIterator[Voice]:
        return self._voices(self._user_id)

    async def result(self) -> TranscriptionResult:
        """Wait until the task ends, and return its result; a task ends only after `end` has ended its audio.

        Raises:
            RequestFailedError: The task has failed or was cancelled.
        """
        result = await self._wait(self.task_id)
        if not isinstance(result, TranscriptionResult):
            raise ClientError(*INCOMPATIBLE)
        return result

    async def _submit(self, task: LiveTask) -> tuple[LiveAudio, int]:
        """Publish the new task; return the format of its audio, and the number of its first frame, which is 0.

        Raises:
            TaskIdTakenError: The task id belongs to another task, or has audio already.
        """
        if not self._is_new:
            number, has_ended = await next_number(self._connection, self._settings.stream_names.live, task.task_id)
            if number:
                resume = "" if has_ended else f", or {resume_hint(task.task_id)}"
                what = f"{task.task_id} has audio already"
                raise TaskIdTakenError(what, f"choose another id{resume}")
        submission = Submission(self._connection, None, task.audio_file_id, task)
        await submission.submit(subjects.tasks(TaskType.LIVE, self._priority), is_new=self._is_new)
        return task.audio, 0

    async def _resume(self) -> tuple[LiveAudio, int]:
        """Check that the task can be resumed; return the format of its audio and the number of its next frame.

        Raises:
            ClientError: The task is not a live task, its audio has ended, or the caller has passed another audio
                format.
        """
        message = build_message(TaskRequest, {"task_id": self.task_id})
        status = await request(self._connection, subjects.STATUS, message, TaskStatus)
        if not isinstance(status.task, LiveTask):
            what = f"{self.task_id} is no live transcription task, and only these can be resumed"
            raise ClientError(what, "check the id")
        number, has_ended = await next_number(self._connection, self._settings.stream_names.live, self.task_id)
        if has_ended or status.state.ended:
            raise _audio_ended(self.task_id)
        audio, self._user_id, self._has_turns = status.task.audio, status.task.user_id, status.task.turns
        if self._audio not in {None, audio}:
            formats = f"codec {audio.codec.value}, rate {audio.sample_rate}, channels {audio.channels}"
            what = f"The audio of {self.task_id} has {formats}"
            raise ClientError(what, "resume it with the same")
        return audio, number

    async def _receive_progress(self, message: Msg) -> None:
        with suppress(ValueError):
            event = ProgressEvent.model_validate_json(message.data)
            self._end = event if event.state.ended else None


async def _unsubscribe(subscription: Subscription) -> None:
    with suppress(nats.errors.ConnectionClosedError):
        await subscription.unsubscribe()


def _audio_ended(task_id: str) -> ClientError:
    return ClientError(f"The audio of {task_id} has ended", "start another live transcription task")


def _task_ended(end: ProgressEvent) -> ClientError:
    if end.error is not None:
        return RequestFailedError(end.error)
    how = "was cancelled" if end.state is State.CANCELLED else "has ended after its pause"
    return ClientError(f"{end.task_id} {how}", "start another live transcription task")
