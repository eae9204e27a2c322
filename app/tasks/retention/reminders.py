"""Reminders: a scheduled message for each ended task, which JetStream delivers when data of the task must be erased.

JetStream stores a reminder (a message with `Nats-Schedule`) under `retention.reminders.*`, and a copy under
`retention.due.*` when its time comes. Its subject names the user, the recording and the task, so that a wildcard finds
all reminders of one of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from natscribe.jetstream import leader_reads, stream_pages
from natscribe.jetstream.streams import DEAD_LETTERS_TTL_S
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveTask
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import AudioFileId, TaskId, UserId
from pydantic import AwareDatetime, BaseModel, ConfigDict

from app.runtime.errors import TransientError
from app.speech.updates import Task
from app.storage.jetstream.records import parse_stored
from app.storage.jetstream.tokens import token
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, TaskMessageId

SET_WITHIN_S: Final = 2.0  # how long to wait for the reminders of tasks that have just ended
REMINDERS_READ_EVERY_S: Final = 0.05


class Reminder(BaseModel):
    """The content of a reminder, a scheduled message: which data of an ended task must be erased, and when.

    `everything`: whether all data of the task must be erased at `task_until`. `recording_until`: when the recording
    must be erased; None: it stays, or is already erased.
    """

    model_config = ConfigDict(frozen=True, extra="allow")  # retains fields of later versions

    task_id: TaskId
    user_id: UserId
    audio_file_id: AudioFileId
    task_sequence: int  # with `created_at`, the task message that owns the log: a later task may have the same id
    created_at: AwareDatetime
    task_until: AwareDatetime  # until when data of the task may stay
    has_recording: bool = True  # a live task without `keep_audio` has none
    everything: bool  # whether the task has `keep_seconds`, so that nothing stays after `task_until`
    recording_until: AwareDatetime | None  # None: the recording stays, or is already erased

    @property
    def owner(self) -> TaskMessageId:
        """The id of the task message that owns the task's log."""
        return TaskMessageId(self.created_at, self.task_sequence)

    @property
    def due_at(self) -> datetime:
        """When JetStream delivers the reminder: the earliest time at which data of the task must be erased."""
        return min(self.recording_until or self.task_until, self.task_until)

    @property
    def is_of_recording_only(self) -> bool:
        """Whether only the recording must be erased when the reminder is due, because the other data stay longer.

        Once the recording is erased, the reminder is stored again for the other data.
        """
        return self.recording_until is not None and self.recording_until < self.task_until

    def not_before(self, time: datetime) -> "Reminder":
        """Return a copy of this reminder in which no data is due before `time`: earlier due times become `time`."""
        recording_until = None if self.recording_until is None else max(self.recording_until, time)
        return self.model_copy(update={"task_until": max(self.task_until, time), "recording_until": recording_until})


def _subject_tokens(reminder: Reminder) -> tuple[str, str, str]:
    return token(reminder.user_id), token(reminder.audio_file_id), reminder.task_id


def has_recording(task: Task) -> bool:
    """Return whether a task has a recording: all tasks do, except live tasks without `keep_audio`."""
    return not isinstance(task, LiveTask) or task.keep_audio


def make_reminder(task: Task, metadata: Metadata, *, ended_at: datetime, audio_ttl: float | None) -> Reminder:
    """Create the reminder, i.e. the scheduled message that says when to erase a task that ended at `ended_at`.

    `audio_ttl`: how many seconds the recording stays after the end of the task; 0: for ever, unless the task has
    `keep_seconds`; None: the service cannot erase recordings.
    """
    keep = task.keep_seconds
    limits = (
        [] if audio_ttl is None or not has_recording(task) else [seconds for seconds in (audio_ttl, keep) if seconds]
    )
    recording_s = min(limits, default=None)
    task_s = keep or max(DEAD_LETTERS_TTL_S, audio_ttl or 0)
    return Reminder(
        task_id=task.task_id,
        user_id=task.user_id,
        audio_file_id=task.audio_file_id,
        task_sequence=metadata.task_sequence,
        created_at=metadata.created_at,
        task_until=ended_at + timedelta(seconds=task_s),
        has_recording=has_recording(task),
        everything=keep is not None,
        recording_until=ended_at + timedelta(seconds=recording_s) if recording_s else None,
    )


def make_reminder_of_invalid(task_id: str, user_id: int | str, owner: TaskMessageId) -> Reminder:
    """Create the reminder of an invalid message, which has a log but no task: the deletion of its user finds it."""
    return Reminder(
        task_id=task_id,
        user_id=user_id,
        audio_file_id=task_id,  # as of a live task, which has no recording either
        task_sequence=owner.task_sequence,
        created_at=owner.created_at,
        task_until=owner.created_at + timedelta(seconds=DEAD_LETTERS_TTL_S),
        has_recording=False,
        everything=True,
        recording_until=None,
    )


class Reminders:
    """Stores, finds and deletes reminders, i.e. the scheduled messages to erase data of ended tasks."""

    def __init__(self, nats: Client, publisher: LogicPublisher, names: StreamNames) -> None:
        self._nats = nats
        self._publisher = publisher
        self._js = nats.jetstream()
        self._stream = names.retention
        self._results, self._ended_tasks = names.results, names.ended_tasks

    async def put(self, reminder: Reminder) -> None:
        """Store a reminder, which replaces an earlier reminder of the task.

        Raises:
            NatsError: NATS does not answer.
        """
        names = _subject_tokens(reminder)
        headers = {
            "Nats-Schedule": f"@at {reminder.due_at.astimezone(UTC).isoformat().replace('+00:00', 'Z')}",
            "Nats-Schedule-Target": subjects.due(*names),
        }
        await self._publisher.publish(reminder, subjects.reminder(*names), headers, stream=self._stream)

    async def put_with_log(self, reminder: Reminder, log: TaskLog) -> None:
        """Store the reminder of an ended task; delete it again if the task's log was deleted, or belongs to another.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        await self.put(reminder)
        last = await log.last(reminder.task_id)
        if last is None or not last.metadata.owner.is_same_as(reminder.owner):
            await self.remove(reminder)

    async def remove(self, reminder: Reminder) -> None:
        """Delete the reminder of a task; if it has become due, also the copy that JetStream has stored for delivery."""
        await self._js.purge_stream(self._stream, subject=subjects.all_reminders(*_subject_tokens(reminder)))

    async def remove_of_task(self, task_id: str) -> None:
        """Delete all reminders of tasks with the id `task_id`, whether they are due or not."""
        await self._js.purge_stream(self._stream, subject=subjects.all_reminders(task_id=task_id))

    def of_task(self, task_id: str) -> AsyncIterator[Reminder]:
        """Yield all reminders of tasks with the id `task_id`, whether they are due or not."""
        return self._all(subjects.all_reminders(task_id=task_id))

    async def of_user(self, user_id: int | str) -> AsyncIterator[Reminder]:
        """Yield all reminders of a user's tasks, whether they are due or not."""
        async for reminder in self._all(subjects.all_reminders(user=token(user_id))):
            if reminder.user_id == user_id:  # another name may have the same token
                yield reminder

    async def is_recording_needed(self, due: Reminder, *, kept_for_ever: bool) -> bool:
        """Return whether another ended task still needs the recording that the reminder `due` names.

        A task needs its recording until its own reminder for the recording has been handled (`recording_until` is then
        None). `kept_for_ever`: whether a task without `keep_seconds` always needs its recording. A second copy of
        `due`, which a lost worker may have left, is not another task.
        """
        async for other in self._all(subjects.reminder("*", token(due.audio_file_id), "*")):
            is_other = other.audio_file_id == due.audio_file_id and not other.owner.is_same_as(due.owner)
            if is_other and (other.recording_until is not None or (kept_for_ever and not other.everything)):
                return True
        return False

    async def wait_until_set(self) -> None:
        """Wait up to SET_WITHIN_S until the reminders of all tasks that ended before this call are stored.

        Raises:
            NatsError: NATS does not answer.
            TransientError: Some reminders are still missing.
        """
        last = (await self._js.stream_info(self._results)).state.last_seq
        deadline = time.monotonic() + SET_WITHIN_S
        while time.monotonic() < deadline:
            if await self._are_set_up_to(last):
                return
            await asyncio.sleep(REMINDERS_READ_EVERY_S)
        message = "Some tasks have just ended, and their users are not recorded yet: try again in a moment."
        raise TransientError(ErrorCode.INTERNAL, message)

    async def _are_set_up_to(self, sequence: int) -> bool:
        consumer = await self._js.consumer_info(self._results, self._ended_tasks)
        settled = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
        return settled >= sequence or not (consumer.num_pending or consumer.num_ack_pending)

    async def oldest_due(self) -> datetime | None:
        """Return when the oldest reminder became due whose data is not erased yet; None if there is none.

        Raises:
            NatsError: NATS does not answer.
        """
        message = await leader_reads.next_from(self._nats, self._stream, subjects.ALL_DUE, 1)
        return message.time if message is not None else None

    async def _all(self, subject: str) -> AsyncIterator[Reminder]:
        async for page in stream_pages.pages(self._nats, self._stream, subject):
            for message in page:
                yield parse_stored(Reminder, message.data or b"", message.subject or "")
