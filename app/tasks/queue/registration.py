"""Registration of tasks: appends the first event, `queued` or `scheduled`, to the log of each stored task.

The log of a task consists of its events on `progress.<task_id>`. A task id belongs to one task message, which owns the
log. A worker that receives a task message registers the task, unless that is done already. Waiting tasks are registered
earlier: when JetStream announces that the task stream has stored their message or, if the announcement was missed, when
the scheduler reads stored messages again. In all three cases `_register` decides whether the message owns the
id. If several workers register the same task concurrently, the first append to its log wins. If the task was deleted
just before this append, the append is undone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, NamedTuple

from nats.errors import Error as NatsError
from natscribe.schemas.progress import State, next_event

from app.runtime.errors import FencedError, MessageGoneError, ObsoleteMessageError, RequestError, TransientError
from app.runtime.supervision import OUTAGE_PAUSE_S, run_forever
from app.speech.updates import Task
from app.tasks.queue.positions import Position, Positions
from app.tasks.queue.queue_reader import QUEUE_KEYS
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record

# The task of a message younger than this is assumed to be new: nothing is read before the first append. If the
# assumption is wrong, because the clock of the worker is slow, the append is refused or undone.
SURELY_NEW: Final = timedelta(milliseconds=50)
HEAD_START_S: Final = 0.05  # delay after an announcement, in which an idle worker may take and register the task
ANNOUNCED_AT_ONCE: Final = 200  # announcements held in memory; others remain in the NATS subscription
_REGISTERED_AGAIN: Final = {State.SCHEDULED, State.FAILED}  # a due task is `queued`, and a replayed one, too
SEQUENCES: Final = 2**63  # stream sequences are below this number


class Announcement(NamedTuple):
    """A notice that a task message was stored: JetStream republishes each message of the task stream to the workers.

    A client may forge an announcement, so a task is registered only if the task stream holds its message. `subject`,
    `sequence`: the subject and the stream sequence of the message.
    """

    task_id: str
    subject: str
    sequence: int


@dataclass(eq=False)
class Registration:
    """Registers tasks: appends the first event to a task's log, unless the task id belongs to another message.

    The event is `scheduled` if the task may not start yet, and otherwise `queued`. `run` does the background work.

    `max_attempts`: the largest number of attempts at a task, which the first event reports. `delete_keys`: deletes the
    Redis keys of a task.
    """

    log: TaskLog
    messages: TaskMessages
    positions: Positions
    max_attempts: int
    delete_keys: Callable[[Record], Awaitable[None]]
    _announced: asyncio.Queue[Announcement] = field(
        default_factory=partial(asyncio.Queue, ANNOUNCED_AT_ONCE), init=False
    )
    _postponed: list[Announcement] = field(default_factory=list, init=False)  # their registration failed: it is retried

    async def register(self, task: Task, message: StoredMessage, *, position: Position | None = None) -> Record:
        """Register the task of a message, unless it is registered already; return the last record of the task's log.

        `position`: the task's position among the waiting tasks, for an event `queued`; None: unknown.

        Raises:
            ObsoleteMessageError: The task id belongs to another message.
            MessageGoneError: The task was deleted.
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        is_new = message.replay_of is None and datetime.now(UTC) - message.time < SURELY_NEW
        while True:
            last = None if is_new else await self.log.last(task.task_id)
            # A deleted task must not get a new log, nor start from a first record that another worker has yet to undo.
            is_unconfirmed = not is_new if last is None else last.event.sequence == 1
            if is_unconfirmed and not await self._is_held(message):
                raise MessageGoneError(task.task_id)
            try:
                return await self._register(task, message, last, position)
            except FencedError:
                is_new = False  # another worker was first: read its record

    async def announce(self, announcement: Announcement, *, replayed: bool) -> None:
        """Let `run` register the task of a new message after HEAD_START_S; if `replayed`, register it at once.

        Within HEAD_START_S, an idle worker usually starts the task and registers it itself. `replayed`: whether the
        message queues the task of a dead letter again.

        Raises:
            ValueError: The announcement names no message of a task queue.
        """
        if announcement.subject not in QUEUE_KEYS or not 0 < announcement.sequence < SEQUENCES:
            message = "the headers name no message of a task queue"
            raise ValueError(message)
        if replayed:  # a request right after the replay must not return the old failure
            await self.register_waiting([announcement])
        else:
            await self._announced.put(announcement)

    def announce_waiting(self, message: StoredMessage) -> None:
        """Let `run` register a waiting task, or append `queued` to its log if a `scheduled` task is due now.

        Do nothing if ANNOUNCED_AT_ONCE tasks are already announced: a worker appends the event when it starts the task.
        """
        if message.task_id is not None and not self._announced.full():
            self._announced.put_nowait(Announcement(message.task_id, message.subject, message.sequence))

    async def register_waiting(self, announced: Sequence[Announcement]) -> None:
        """Register those of the announced tasks that are not registered yet, if the task stream holds their messages.

        To register a task is to append the first event to its log.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        last = await self.log.last_of({announcement.task_id for announcement in announced})
        unregistered = set[tuple[str, int]]()
        for task_id, subject, sequence in announced:
            record = last.get(task_id)
            # A failure may be replayed by a message with the same sequence, if the task stream was recreated.
            if record is None or record.metadata.task_sequence != sequence or record.event.state in _REGISTERED_AGAIN:
                unregistered.add((subject, sequence))
        located = await self.positions.locate(unregistered) if unregistered else []
        await asyncio.gather(*(self._register_ahead(message, last, position) for message, position in located))

    async def run(self) -> None:
        """Register the tasks passed to `announce` and `announce_waiting`, until cancelled."""
        await run_forever("registration", self._register_announced, every_s=0, retry_after_s=OUTAGE_PAUSE_S)

    async def _register(
        self, task: Task, message: StoredMessage, last: Record | None, position: Position | None
    ) -> Record:
        """Append a task's first event, unless the message was registered already; return the last record of its log.

        `last`: the last record of the log before the append; None: the log is empty. `position`: of the waiting task,
        for an event `queued`; None: unknown.

        Raises:
            ObsoleteMessageError: The task id belongs to another message.
            FencedError: Another worker has appended to the log.
            NatsError: NATS does not answer.
            MessageGoneError: The task was deleted.
            TransientError: JetStream or Redis does not answer.
        """
        if last is not None and message.owns(last):
            return last
        if not await self._may_use_log(message, task, last):
            raise ObsoleteMessageError(task.task_id)
        is_scheduled = not await self.messages.is_due(message)
        event = message.first_event(
            task.task_id,
            task,
            State.SCHEDULED if is_scheduled else State.QUEUED,
            max_attempts=self.max_attempts,
            sequence=last.event.sequence + 1 if last else 1,
            **({"not_before": message.due_at} if is_scheduled else _fields_of(position)),
        )
        first = await self.log.append(event, message.metadata(task), after=last.stream_sequence if last else 0)
        if last is None and not await self._is_held(message):
            await self._undo_if_deleted(first)
        return first

    async def _may_use_log(self, message: StoredMessage, task: Task, last: Record | None) -> bool:
        """Return whether a message may start or continue the log of its task id.

        An empty log belongs to the first message with the task id. The log of a failed task belongs to the message that
        replays the task. If the message that owned the log was lost with the task stream, the log belongs to the next
        message with the same task in its body. `last`: the last record of the log; None: it is empty.
        """
        if last is None or message.replay_of is not None:
            return message.replay_of is None if last is None else message.replays(last, task)
        if last.event.state.ended or last.metadata.task != task:
            return False
        # A worker appends the end of a task before it settles the message. So if the message is missing because the
        # task has just ended, `last` is outdated, and the append is refused.
        owner = await self.messages.find(last.metadata.subject, last.metadata.task_sequence)
        return owner is None or not owner.owns(last)

    async def _undo_if_deleted(self, first: Record) -> None:
        """Delete `first`, the first record of a log, if the task was deleted before the record was appended.

        The caller has found that the task message is missing: the task has ended or was deleted. If it has ended, its
        last event follows `first` in the log. If nothing follows, a client deleted the task and its log before `first`
        was appended.

        Raises:
            MessageGoneError: The task was deleted.
            TransientError: JetStream or Redis does not answer.
        """
        task_id = first.event.task_id
        last = await self.log.last(task_id)
        if last is not None and last.stream_sequence == first.stream_sequence:
            await self.log.undo(first)
            await self.delete_keys(first)
            raise MessageGoneError(task_id)

    async def _is_held(self, message: StoredMessage) -> bool:
        return await self.messages.find(message.subject, message.sequence) is not None

    async def _register_ahead(
        self, message: StoredMessage, last: Mapping[str, Record], position: Position | None
    ) -> None:
        """Register the task of a waiting message before a worker receives it.

        If the task was registered as `scheduled` and is due now, append `queued`. Ignore invalid and obsolete messages:
        the workers that receive them handle them. `last`: the last records of the task logs, by task id.
        """
        task = message.task
        if task is not None and message.problem is None:
            with suppress(ObsoleteMessageError, MessageGoneError, FencedError, RequestError):
                record = await self._register(task, message, last.get(task.task_id), position)
                if record.event.state is State.SCHEDULED and await self.messages.is_due(message):
                    event = next_event(record.event, State.QUEUED, **_fields_of(position))
                    await self.log.append(event, record.metadata, after=record.stream_sequence)

    async def _register_announced(self) -> None:
        """Wait until tasks are announced, then register them; if that fails, the next call tries them again."""
        announced, self._postponed = self._postponed or await self._next_announced(), []
        try:
            await self.register_waiting(announced)
        except (NatsError, TransientError):
            self._postponed = announced
            raise

    async def _next_announced(self) -> list[Announcement]:
        announced = [await self._announced.get()]
        await asyncio.sleep(HEAD_START_S)
        while not self._announced.empty():
            announced.append(self._announced.get_nowait())
        return announced


def _fields_of(position: Position | None) -> dict[str, object]:
    """Return the fields of an event `queued` that report a position; none if the position is unknown."""
    return {} if position is None else {"queue_position": position.number, "seconds_ahead": position.seconds_ahead}
