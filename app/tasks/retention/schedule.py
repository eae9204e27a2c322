"""The schedule of retention: stores a reminder when a task ends; erases the task's data when the reminder is due."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.schemas.erased import ErasureReason
from natscribe.schemas.stream_names import StreamNames

from app.runtime.supervision import OUTAGE_PAUSE_S, run_forever
from app.runtime.telemetry.metrics import Meter
from app.storage.jetstream.pull_inbox import GATHER_S, LINGER_S, PullInbox
from app.storage.jetstream.records import UnreadableError, parse_stored, read_record
from app.tasks.queue.index import QueueIndex
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.retention.erasure import Erasure
from app.tasks.retention.reminders import Reminder, Reminders, make_reminder
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, TaskMessageId

ENDED_AT_ONCE: Final = 50  # ended tasks that get their reminders in one step
DUE_AT_ONCE: Final = 10  # due reminders of one step: all must be settled within TASK_ACK_WAIT
ERASE_AGAIN_AFTER_S: Final = 30.0  # an erasure that failed is repeated after this time
POSTPONED_FOR: Final = timedelta(hours=1)  # the next delivery of a reminder whose task has not ended

log = structlog.get_logger()


@dataclass(eq=False)
class Schedule:
    """Stores a reminder for each ended task, and erases data whose retention time is over.

    The workers share these duties: one worker handles each ended task and each due reminder.

    `audio_ttl`: how many seconds a recording is kept after the end of its task; 0: for ever; None: the service cannot
    erase recordings.
    """

    nats: Client
    names: StreamNames
    log: TaskLog
    messages: TaskMessages
    reminders: Reminders
    erasure: Erasure
    audio_ttl: float | None
    meter: Meter

    def __post_init__(self) -> None:
        self._ended = PullInbox(self.nats, self.names.results, self.names.ended_tasks)
        self._due = PullInbox(self.nats, self.names.retention, self.names.due_reminders)
        self._queued = QueueIndex(self.nats, self.names, self.messages, key=audio_file_id)

    async def run(self) -> None:
        """Store the reminders of ended tasks and erase data that is due, until cancelled."""
        await asyncio.gather(
            run_forever("reminders", self._set_next_reminders, every_s=GATHER_S, retry_after_s=OUTAGE_PAUSE_S),
            run_forever("erasure", self._erase_next, every_s=GATHER_S, retry_after_s=OUTAGE_PAUSE_S),
        )

    async def _set_next_reminders(self) -> None:
        """Wait up to a minute for outcomes of tasks, and store a reminder for each task that has ended.

        A reminder is a scheduled message, which JetStream delivers when the task's recording or other data is to be
        erased.
        """
        messages = await self._ended.pull(ENDED_AT_ONCE) or await self._ended.pull(1, within=LINGER_S)
        ended = {message.subject.rpartition(".")[2]: message for message in messages}  # the last outcome of each task
        await asyncio.gather(*(self._set_reminder(task_id, message) for task_id, message in ended.items()))
        for message in messages:
            await message.ack()

    async def _set_reminder(self, task_id: str, message: Msg) -> None:
        """Store the reminder of an ended task.

        `message`: the stored outcome of the task, whose headers describe the task. An outcome that the service has not
        written is ignored.
        """
        metadata = read_record(lambda outcome: Metadata.read(outcome.headers or {}), message)
        if metadata is None or metadata.task is None or metadata.task.task_id != task_id:
            return  # the service did not write this outcome, or its message was invalid
        reminder = make_reminder(metadata.task, metadata, ended_at=message.metadata.timestamp, audio_ttl=self.audio_ttl)
        await self.reminders.put_with_log(reminder, self.log)

    async def _erase_next(self) -> None:
        messages = await self._due.pull(DUE_AT_ONCE) or await self._due.pull(1, within=LINGER_S)
        if not messages:
            return
        due: list[tuple[Msg, Reminder]] = []
        for message in messages:
            try:
                due.append((message, parse_stored(Reminder, message.data, message.subject)))
            except UnreadableError as error:
                await self._try_again_later(message, error)
        in_use = await recordings_in_use(self._queued, [reminder for _, reminder in due])
        await self.reminders.wait_until_set()  # a task that is in no queue now may have ended just before
        for message, reminder in due:
            try:
                await self._erase(reminder, in_use, since=message.metadata.timestamp)
            except Exception as error:  # noqa: BLE001 -- the other reminders must not wait for this one
                await self._try_again_later(message, error)
            else:
                await message.ack()

    async def _erase(self, reminder: Reminder, in_use: Collection[str], *, since: datetime) -> None:
        """Erase the data that a due reminder names; if its task has not ended, store the reminder again for later.

        `since`: when the reminder became due. `in_use`: the ids of the recordings that waiting or running tasks need.

        A task that has not ended has a reminder if a request to cancel it has stored its outcome, but could not append
        `cancelled` to its log. When such a task ends, it usually gets a new reminder.
        """
        last = await self.log.last(reminder.task_id)
        if last is not None and not last.metadata.owner.is_same_as(reminder.owner):
            last = None  # the task was replayed, or a later task has its id: that task gets its own reminder
        if last is not None and not last.event.state.ended:
            await self.reminders.put(reminder.not_before(since + POSTPONED_FOR))
            return
        if reminder.recording_until is not None and (self.audio_ttl or reminder.everything):
            await self._erase_recording(reminder, in_use)
        if reminder.is_of_recording_only:
            await self.reminders.put(reminder.model_copy(update={"recording_until": None}))
        elif last is not None and reminder.everything:
            await self.erasure.erase(last, ErasureReason.RETENTION, with_recording=False)
            self.meter.erasures.labels("task").inc()
            log.info("task_erased", task_id=reminder.task_id)

    async def _erase_recording(self, due: Reminder, in_use: Collection[str]) -> None:
        """Erase the recording that a due reminder names, unless another task needs it."""
        kept_for_ever = self.audio_ttl == 0
        if due.audio_file_id in in_use or await self.reminders.is_recording_needed(due, kept_for_ever=kept_for_ever):
            return
        await self.erasure.recordings.delete(due.audio_file_id)
        self.meter.erasures.labels("recording").inc()
        log.info("recording_erased", task_id=due.task_id)

    async def _try_again_later(self, message: Msg, error: Exception) -> None:
        self.meter.failed_erasures.inc()
        log.warning("task_erasure_failed", task_id=message.subject.rpartition(".")[2], error=type(error).__name__)
        await message.nak(delay=ERASE_AGAIN_AFTER_S)


def audio_file_id(message: StoredMessage) -> str | None:
    """Return the id of the recording of a message's task; None if the message is invalid."""
    return message.task.audio_file_id if message.task else None


async def recordings_in_use(index: QueueIndex, due: Collection[Reminder]) -> set[str]:
    """Return the ids of the recordings that are due to be erased, but that other waiting or running tasks need.

    `index`: the messages in the queues, by the recordings of their tasks. `due`: the due reminders, which name the
    recordings.

    Raises:
        NatsError: NATS does not answer.
    """
    await index.update()
    in_use = set[str]()
    for recording in {reminder.audio_file_id for reminder in due}:
        async for message in index.indexed(recording):
            owner = TaskMessageId(message.time, message.sequence)
            if not any(owner.is_same_as(reminder.owner) for reminder in due):
                in_use.add(recording)
    return in_use
