"""Erasure: deletes everything that the service stores about a task."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from natscribe.schemas.erased import ErasureReason

from app.storage.recordings.recording import RecordingStore
from app.storage.redis.cache import Cache
from app.tasks.dead_letters.store import DeadLetterStore
from app.tasks.projection.projection import RedisProjection
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.retention.reminders import Reminder, Reminders, has_recording
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record
from app.tasks.task_log.results import ResultStore


@dataclass(frozen=True, slots=True)
class Erasure:
    """Erases the data of tasks from all stores of the service; an erasure that fails halfway can be repeated."""

    log: TaskLog
    results: ResultStore
    reminders: Reminders
    messages: TaskMessages
    dead_letters: DeadLetterStore
    recordings: RecordingStore
    projection: RedisProjection
    cache: Cache
    erase_frames: Callable[[str], Awaitable[None]]  # erases the audio of a live task

    async def erase(self, last: Record, reason: ErasureReason, *, with_recording: bool = True) -> None:
        """Erase all data of a task that has ended, and tell followers why.

        `last`: the last record of the task's log. `with_recording`: whether to erase the recording, too. The log is
        erased after all data that can only be found with the log and after followers were told, and the reminder after
        the log, so that an erasure that fails halfway can be repeated.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream, Redis or the store of recordings does not answer.
        """
        task_id, task = last.event.task_id, last.metadata.task
        await self.projection.delete(last)
        await self.cache.erase(task_id)
        await self.messages.remove(last)  # the message may still be in its queue
        if with_recording and task is not None and has_recording(task):
            await self.recordings.delete(task.audio_file_id)
        await self.erase_frames(task_id)
        await self.results.delete(task_id)
        await self.dead_letters.delete_all(task_id)
        await self.log.erased.append(task_id, last.metadata.owner, reason, task.user_id if task else None)
        await self.log.purge_events(task_id)
        await self.reminders.remove_of_task(task_id)

    async def erase_without_log(self, task_id: str, reason: ErasureReason) -> bool:
        """Erase the remaining data of a task whose log has expired: dead letters, reminders, and what reminders name.

        Return whether the task had dead letters or reminders.

        Raises:
            NatsError: NATS does not answer.
            TransientError: The recordings or Redis cannot be reached.
        """
        has_data = await self.dead_letters.delete_all(task_id)
        async for reminder in self.reminders.of_task(task_id):
            await self.erase_remains(reminder, reason)
            has_data = True
        return has_data

    async def erase_remains(self, reminder: Reminder, reason: ErasureReason | None) -> None:
        """Erase the remaining data of a task whose log has expired: recording, audio frames, cached results, reminder.

        `reason`: what followers are told; None: nothing, because a later task has the same id.

        Raises:
            NatsError: NATS does not answer.
            TransientError: The recordings or Redis cannot be reached.
        """
        await self.cache.erase(reminder.task_id)
        await self.erase_frames(reminder.task_id)
        if reminder.has_recording:
            await self.recordings.delete(reminder.audio_file_id)
        if reason is not None:
            await self.log.erased.append(reminder.task_id, reminder.owner, reason, reminder.user_id)
        await self.reminders.remove(reminder)
