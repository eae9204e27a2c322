"""Registration: a task is registered when its log begins with `queued`, for the one message that owns the task id.

A worker that receives a message registers its task, unless the task is registered already. Tasks that have to wait are
registered earlier: when the task stream announces their message or, if no worker received the announcement, by a search
of the queues. All three ways end in `_register`, which decides whether the message owns the id. If several workers
register the same task at once, the first append to its log wins. If the task was deleted just before that append, the
append is undone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from nats.errors import Error as NatsError
from natscribe.schemas.progress import ProgressEvent, State

from app.errors import FencedError, MessageGoneError, ObsoleteMessageError, RequestError, TransientError
from app.jetstream.connection_monitor import ConnectionMonitor
from app.queue.positions import Position, Positions
from app.queue.priorities import QUEUE_KEYS
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages
from app.supervision import OUTAGE_PAUSE_S, run_forever
from app.task_log.log import TaskLog
from app.task_log.record import Record
from app.updates import Task

# The task of a message that is younger than this is assumed to be new, so nothing is read before the first append. A
# worker whose clock is slow assumes so too often: the append is refused or undone then.
SURELY_NEW: Final = timedelta(milliseconds=50)
HEAD_START_S: Final = 0.05  # the delay after an announcement, in which an idle worker takes and registers the task
ANNOUNCED_AT_ONCE: Final = 200  # announcements kept in memory; further announcements stay in the NATS subscription
MISSED_AT_ONCE: Final = 50  # messages that one step of the search for missed tasks reads
MISSED_IN_A_ROUND: Final = 10_000  # limit of messages that one search reads of a queue; a full queue by default
MISSED_EVERY_S: Final = 60.0  # the pause between two searches
WAITING_CHECK_EVERY_S: Final = 0.5  # how often the search checks whether tasks have to wait
SEQUENCES: Final = 2**63  # every stream sequence is below this number


@dataclass(frozen=True, slots=True)
class Announcement:
    """Names a stored task message. An announcement may be forged: only what the task stream holds is registered."""

    task_id: str
    subject: str
    sequence: int  # the number of the message in the task stream


class Registration:
    """Registers tasks, each for the one message that owns the task id."""

    def __init__(  # noqa: PLR0913 -- where tasks are read, where they are written, and two settings
        self,
        task_log: TaskLog,
        messages: TaskMessages,
        positions: Positions,
        connection: ConnectionMonitor,
        *,
        max_attempts: int,
        delays_tasks: Callable[[], bool],
        delete_keys: Callable[[Record], Awaitable[None]],
    ) -> None:
        """`delays_tasks` returns whether this worker delays waiting tasks; `delete_keys` removes a task from Redis."""
        self._log = task_log
        self._messages = messages
        self._positions = positions
        self._connection = connection
        self._max_attempts = max_attempts
        self._must_wait = delays_tasks
        self._delete_keys = delete_keys
        self._announced: asyncio.Queue[Announcement] = asyncio.Queue(ANNOUNCED_AT_ONCE)
        self._postponed: list[Announcement] = []  # announcements whose registration failed and is tried again
        self._searched_up_to: dict[str, int] = {}  # for each queue, the last sequence searched since the last outage

    async def register(self, task: Task, message: StoredMessage, *, position: Position | None = None) -> Record:
        """Register the task of a message, unless it is registered; return the last record of the task.

        `position` is written into the event `queued`; None: the position is unknown.

        Raises:
            AlreadyKnownError: The id belongs to another message.
            NotHeldError: The task was deleted.
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        is_new = message.replay_of is None and datetime.now(UTC) - message.time < SURELY_NEW
        while True:
            last = None if is_new else await self._log.last(task.task_id)
            if last is None and not is_new and not await self._is_held(message):
                raise MessageGoneError(task.task_id)  # a deleted task must not get a log again
            try:
                return await self._register(task, message, last, position)
            except FencedError:
                is_new = False  # another worker has appended first: read its record

    async def announce(self, announced: Announcement, *, replayed: bool) -> None:
        """Have a stored task registered soon, or, if the message replays the task, at once.

        Raises:
            ValueError: The announcement names no message of a task queue.
        """
        if announced.subject not in QUEUE_KEYS or not 0 < announced.sequence < SEQUENCES:
            message = "the headers name no message of a task queue"
            raise ValueError(message)
        if replayed:  # a client that asks right after its replay must not see the old failure
            await self.register_waiting([announced])
        else:
            await self._announced.put(announced)

    async def register_waiting(self, announced: Sequence[Announcement]) -> None:
        """Register the announced tasks that the task stream holds and that are not registered yet.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        last = await self._log.last_of({each.task_id for each in announced})
        sequences: dict[str, set[int]] = {}  # the stream sequences of each queue's messages
        for each in announced:
            known = last.get(each.task_id)
            # A failure may be replayed by a message with the same number, if the task stream was created anew.
            if known is None or known.metadata.task_sequence != each.sequence or known.event.state is State.FAILED:
                sequences.setdefault(each.subject, set()).add(each.sequence)
        found = [pair for subject in sequences for pair in await self._positions.locate(subject, sequences[subject])]
        await asyncio.gather(*(self._register_ahead(message, last, position) for message, position in found))

    async def run(self) -> None:
        """Register waiting tasks until cancelled: announced tasks, and tasks whose announcement was missed."""
        await asyncio.gather(
            run_forever("registration", self._register_announced, every_s=0, retry_after_s=OUTAGE_PAUSE_S),
            run_forever("search_for_missed_tasks", self._register_missed, every_s=0, retry_after_s=OUTAGE_PAUSE_S),
        )

    async def _register(
        self, task: Task, message: StoredMessage, last: Record | None, position: Position | None
    ) -> Record:
        """Append `queued` after the last record, unless the message is registered already.

        Raises:
            AlreadyKnownError: The id belongs to another message.
            FencedError: Another worker has appended to the log.
            NatsError: NATS does not answer.
            NotHeldError: The task was deleted.
            TransientError: JetStream or Redis does not answer.
        """
        if last is not None and message.owns(last):
            return last
        if not await self._may_own(message, task, last):
            raise ObsoleteMessageError(task.task_id)
        event = ProgressEvent(
            task_id=task.task_id,
            kind=message.kind,
            user_id=task.user_id,
            audio_file_id=task.audio_file_id,
            priority=message.priority,
            state=State.QUEUED,
            max_attempts=self._max_attempts,
            sequence=last.event.sequence + 1 if last else 1,
            queue_position=position and position.number,
            expected_start=position and position.expected_start,
            time=datetime.now(UTC),
        )
        queued = await self._log.append(event, message.metadata(task), after=last.stream_sequence if last else 0)
        if last is None and not await self._is_held(message):
            await self._undo_if_deleted(queued)
        return queued

    async def _may_own(self, message: StoredMessage, task: Task, last: Record | None) -> bool:
        """Return whether a message may own a task id whose last record is `last`.

        A new id belongs to its first message, a failed task to a replay. A task whose message was lost with the task
        stream belongs to the message with which its publisher publishes the same task again.
        """
        if last is None or message.replay_of is not None:
            return message.replay_of is None if last is None else message.replays(last, task)
        if last.event.state.ended or last.metadata.task != task:
            return False
        # A worker appends the end of a task before it settles the message. So if the message is gone and `last` is out
        # of date, the append of `queued` is refused.
        owner = await self._messages.find(last.metadata.subject, last.metadata.task_sequence)
        return owner is None or not owner.owns(last)

    async def _undo_if_deleted(self, queued: Record) -> None:
        """Remove `queued`, the first record of a log, because its task message is gone; do nothing if a record follows.

        A worker appends to the log before it settles the message. So if no record follows, the message was removed by
        a deletion of the task, which found the log and removed it before this record was appended.

        Raises:
            NotHeldError: The task was deleted.
            TransientError: JetStream or Redis does not answer.
        """
        task_id = queued.event.task_id
        last = await self._log.last(task_id)
        if last is not None and last.stream_sequence == queued.stream_sequence:
            await self._log.undo(queued)
            await self._delete_keys(queued)
            raise MessageGoneError(task_id)

    async def _is_held(self, message: StoredMessage) -> bool:
        return await self._messages.find(message.subject, message.sequence) is not None

    async def _register_ahead(
        self, message: StoredMessage, last: Mapping[str, Record], position: Position | None
    ) -> None:
        """Register the task of a waiting message; skip invalid and known tasks, which a worker handles later."""
        task = message.task
        if task is not None and message.problem is None:
            with suppress(ObsoleteMessageError, MessageGoneError, FencedError, RequestError):
                await self._register(task, message, last.get(task.task_id), position)

    async def _register_announced(self) -> None:
        """Register the next announced tasks, or the tasks whose registration failed before."""
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

    async def _register_missed(self) -> None:
        """Search the queues for unregistered tasks, then rest for MISSED_EVERY_S or until an outage has ended.

        An announcement is missed during an outage, or if the worker that received it has died.
        """
        for subject in QUEUE_KEYS:
            await self._register_missed_in(subject)
        with suppress(TimeoutError):
            async with asyncio.timeout(MISSED_EVERY_S):
                await self._connection.wait_until_restored()
                self._searched_up_to.clear()

    async def _register_missed_in(self, subject: str) -> None:
        """Register the unregistered tasks of one queue in steps, whenever this worker keeps tasks waiting.

        The pause after a step is three times as long as the step.
        """
        loop, searched = asyncio.get_running_loop(), 0
        while searched < MISSED_IN_A_ROUND:
            while not self._must_wait():  # noqa: ASYNC110 -- no event tells when tasks have to wait
                await asyncio.sleep(WAITING_CHECK_EVERY_S)
            began = loop.time()
            messages = await self._messages.page_after(
                subject, self._searched_up_to.get(subject, 0), count=MISSED_AT_ONCE
            )
            if not messages:
                return
            ids = [(message.task_id, message.sequence) for message in messages]
            await self.register_waiting([Announcement(each, subject, sequence) for each, sequence in ids if each])
            self._searched_up_to[subject] = messages[-1].sequence
            searched += len(messages)
            await asyncio.sleep(3 * (loop.time() - began))
