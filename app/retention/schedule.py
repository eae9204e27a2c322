"""The schedule of retention: sets a reminder when a task ends, and erases what is due."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from app.jetstream.pull_inbox import PullInbox
from app.queue.positions import WaitingTasks
from app.queue.stored_message import StoredMessage
from app.retention.erasure import Erasure
from app.retention.reminders import Reminder, Reminders, reminder_of
from app.supervision import run_forever
from app.task_log.log import TaskLog
from app.task_log.record import Metadata, Owner
from app.updates import Task
from schemas import subjects
from schemas.stream_names import StreamNames

ENDED_AT_ONCE: Final = 50  # ended tasks that get their reminders in one step
DUE_AT_ONCE: Final = 10  # due reminders of one step: all must be settled within TASK_ACK_WAIT
LINGER_S: Final = 5.0  # how long a request waits for the first message
GATHER_S: Final = 0.1  # pause in which the messages of the next step gather
OUTAGE_PAUSE_S: Final = 2.0  # pause after an error of NATS
RETRY_AFTER_S: Final = 30.0  # an erasure that failed is repeated after this time
READ_AT_ONCE: Final = 200  # messages of the task queues that are read in one batch

log = structlog.get_logger()


class Schedule:
    """Sets the reminders of ended tasks, and erases what is due, through durable consumers that all workers share."""

    def __init__(  # noqa: PLR0913 -- what it reads, what it writes, and two settings
        self,
        nats: Client,
        names: StreamNames,
        task_log: TaskLog,
        *,
        waiting: WaitingTasks,
        reminders: Reminders,
        erasure: Erasure,
        audio_ttl: float | None,
        count_erased: Callable[[str], None],
    ) -> None:
        """`audio_ttl` is how many seconds a recording is kept after the end of its task.

        0: without a limit. None: the service only reads the store of recordings.

        `count_erased` is called with `task` or `recording` after each erasure.
        """
        self._ended = PullInbox(nats, names.results, names.ended_tasks)
        self._due = PullInbox(nats, names.retention, names.due_reminders)
        self._log = task_log
        self._waiting = waiting
        self._reminders = reminders
        self._erasure = erasure
        self._audio_ttl = audio_ttl
        self._count_erased = count_erased

    async def run(self) -> None:
        """Do both until cancelled."""
        await asyncio.gather(
            run_forever("reminders", self._remind_of_next, every_s=GATHER_S, retry_after_s=OUTAGE_PAUSE_S),
            run_forever("erasure", self._erase_next, every_s=GATHER_S, retry_after_s=OUTAGE_PAUSE_S),
        )

    async def _remind_of_next(self) -> None:
        """Set the reminders of tasks whose outcome was stored."""
        messages = await self._ended.ask(ENDED_AT_ONCE) or await self._ended.ask(1, within=LINGER_S)
        ended = {message.subject.rpartition(".")[2]: message for message in messages}  # the last outcome of each task
        await asyncio.gather(*(self._remind_of(task_id, message) for task_id, message in ended.items()))
        for message in messages:
            await message.ack()

    async def _remind_of(self, task_id: str, message: Msg) -> None:
        """Set the reminder of an ended task; undo that if the task was deleted in the meantime."""
        known = _task_of(message)
        if known is None or known[0].task_id != task_id:
            return  # the service did not write this outcome
        task, metadata = known
        reminder = reminder_of(task, metadata, ended_at=message.metadata.timestamp, audio_ttl=self._audio_ttl)
        await self._reminders.put(reminder)
        last = await self._log.last(task_id)
        if last is None or not last.metadata.owner.is_same_as(reminder.owner):
            await self._reminders.forget(reminder)

    async def _erase_next(self) -> None:
        messages = await self._due.ask(DUE_AT_ONCE) or await self._due.ask(1, within=LINGER_S)
        if not messages:
            return
        due = [Reminder.model_validate_json(message.data) for message in messages]
        in_use = await self._in_use(due)
        for message, reminder in zip(messages, due, strict=True):
            try:
                await self._erase(reminder, in_use)
            except Exception as error:  # noqa: BLE001 -- the other reminders must not wait for this one
                log.warning("task_erasure_failed", task_id=reminder.task_id, error=type(error).__name__)
                await message.nak(delay=RETRY_AFTER_S)
            else:
                await message.ack()

    async def _erase(self, reminder: Reminder, in_use: Collection[str]) -> None:
        if reminder.recording_until is not None and (self._audio_ttl or reminder.everything):
            await self._erase_recording(reminder, in_use)
        if reminder.is_of_recording_only:
            await self._reminders.put(reminder.model_copy(update={"recording_until": None}))
        elif reminder.everything:
            await self._erase_task(reminder)

    async def _erase_recording(self, reminder: Reminder, in_use: Collection[str]) -> None:
        if await self._erasure.erase_recording(reminder, in_use=in_use):
            self._count_erased("recording")
            log.info("recording_erased", task_id=reminder.task_id)

    async def _erase_task(self, reminder: Reminder) -> None:
        """Erase a task, unless it was replayed, or a later task has its id: that task gets a reminder of its own."""
        last = await self._log.last(reminder.task_id)
        if last is not None and last.event.state.ended and last.metadata.owner.is_same_as(reminder.owner):
            await self._erasure.erase(last, with_recording=False)
            self._count_erased("task")
            log.info("task_erased", task_id=reminder.task_id)

    async def _in_use(self, due: Sequence[Reminder]) -> set[str]:
        """Return the recordings of these reminders that a task in the queues names, other than the ended tasks."""
        wanted, found, at = {reminder.audio_file_id for reminder in due}, set[str](), 0
        while messages := await self._waiting.after(subjects.ALL_TASKS, at, count=READ_AT_ONCE):
            at = messages[-1].sequence
            for message in messages:
                task = message.task
                if task is not None and task.audio_file_id in wanted and not _is_of_any(message, due):
                    found.add(task.audio_file_id)
        return found


def _task_of(outcome: Msg) -> tuple[Task, Metadata] | None:
    """Return the task of an outcome, from its headers; None if the service did not write them."""
    try:
        metadata = Metadata.read(outcome.headers or {})
    except ValueError:
        return None
    return None if metadata.task is None else (metadata.task, metadata)


def _is_of_any(message: StoredMessage, reminders: Sequence[Reminder]) -> bool:
    owner = Owner(message.time, message.sequence)
    return any(reminder.owner.is_same_as(owner) for reminder in reminders)
