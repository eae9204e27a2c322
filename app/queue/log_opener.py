"""The log opener: whose a task id is, and the `queued` that its log begins with."""

import asyncio
from datetime import UTC, datetime, timedelta

from app.errors import AlreadyKnownError, OvertakenError
from app.log.entry import Entry
from app.log.task_log import TaskLog
from app.queue.positions import Position, WaitingTasks
from app.queue.stored_message import StoredMessage
from app.updates import Task
from schemas.diarization import DiarizationTask
from schemas.progress import ProgressEvent, State
from schemas.wire import Kind

SURELY_NEW = timedelta(milliseconds=50)  # what was stored so lately nobody else has picked up, most likely
LATELY = 5000  # messages; a few kilobytes each


def kind_of(task: Task) -> Kind:
    """Which kind a task is of."""
    return Kind.DIARIZATION if isinstance(task, DiarizationTask) else Kind.TRANSCRIPTION


class LogOpener:
    """Opens the logs of stored tasks, each for the one message that owns its id."""

    def __init__(self, log: TaskLog, waiting: WaitingTasks, *, max_attempts: int) -> None:
        self._log = log
        self._waiting = waiting
        self._max_attempts = max_attempts
        self._lately: dict[tuple[int, str], asyncio.Task[Entry] | None] = {}  # opened ahead here; null: picked up here

    async def open(self, task: Task, message: StoredMessage, *, place: Position | None = None) -> Entry:
        """The last entry of the message's log, opened with `queued` where need be.

        Raises AlreadyKnownError where the id is another message's, or this one was taken from the queue meanwhile.
        """
        opened = await self._opened_ahead(task, message)
        if opened is not None and message.owns(opened) and not message.again:
            return opened  # whatever came behind it refuses the next append
        lately = datetime.now(UTC) - message.time < SURELY_NEW
        surely_new = lately and message.replay_of is None  # if not, the append is refused
        while True:
            last = None if surely_new else await self._log.last(task.task_id)
            if last is not None and message.owns(last):
                return last
            if last is not None and not message.reopens(last, task):
                raise AlreadyKnownError(task.task_id)
            if last is None and (message.replay_of or not await self._is_held(message)):
                raise AlreadyKnownError(task.task_id)  # deleted: it must not come back
            try:
                return await self._say_queued(task, message, last, place)
            except OvertakenError:
                surely_new = False  # another worker was faster: read what it wrote

    async def _is_held(self, message: StoredMessage) -> bool:
        return await self._waiting.held(message.subject, message.sequence) is not None

    async def open_ahead(
        self, task: Task, message: StoredMessage, last: Entry | None, *, place: Position | None = None
    ) -> None:
        """Open the log of a message that waits, behind a failed end again (OvertakenError, TransientError)."""
        if (message.sequence, task.task_id) in self._lately:
            return  # picked up here in the meantime
        opening = asyncio.create_task(self._say_queued(task, message, last, place))
        self._remember(task, message, opening)
        try:
            await opening
        except BaseException:  # whoever comes next tries again
            if self._lately.get((message.sequence, task.task_id)) is opening:
                del self._lately[message.sequence, task.task_id]
            raise

    async def _opened_ahead(self, task: Task, message: StoredMessage) -> Entry | None:
        """What was said ahead of the delivery that has the message in its hands now."""
        opening = self._lately.get((message.sequence, task.task_id))
        self._remember(task, message, None)
        if opening is None:
            return None
        await asyncio.wait([opening])
        return None if opening.cancelled() or opening.exception() else opening.result()

    def _remember(self, task: Task, message: StoredMessage, opening: asyncio.Task[Entry] | None) -> None:
        self._lately[message.sequence, task.task_id] = opening  # sequences begin anew with a stream
        if len(self._lately) > LATELY:
            del self._lately[next(iter(self._lately))]

    async def _say_queued(
        self, task: Task, message: StoredMessage, last: Entry | None, place: Position | None
    ) -> Entry:
        event = ProgressEvent(
            task_id=task.task_id,
            kind=kind_of(task),
            state=State.QUEUED,
            max_attempts=self._max_attempts,
            sequence=last.event.sequence + 1 if last else 1,
            queue_position=place and place.number,
            expected_start=place and place.expected_start,
            time=datetime.now(UTC),
        )
        facts = message.facts(task)
        return await self._log.append(event, facts, after=last.stream_sequence if last else 0)
