"""The queue side of the log: who owns a task id, and since when it waits."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from app.entry import TASKS, Entry
from app.stored_message import REPLAY_OF, StoredMessage
from app.task_log import TaskLog
from app.waiting import Place, WaitingTasks
from handlers.errors import AlreadyKnownError, OvertakenError
from handlers.ports import Task
from schemas.diarization import DiarizationTask
from schemas.progress import ProgressEvent, State
from schemas.wire import Kind

HEAD_START = 0.05  # seconds: an idle worker, which has picked the task up by then, is not to be held up


def kind_of(task: Task) -> Kind:
    """Which kind a task is of."""
    return Kind.DIARIZATION if isinstance(task, DiarizationTask) else Kind.TRANSCRIPTION


class TaskQueue:
    """Opens the logs of stored tasks."""

    def __init__(self, log: TaskLog, waiting: WaitingTasks, *, max_attempts: int) -> None:
        self._log = log
        self._waiting = waiting
        self._max_attempts = max_attempts

    async def accept(self, task: Task, headers: Mapping[str, str]) -> None:
        """Say `queued` soon after the task was stored, where every worker is busy (ValueError)."""
        sequence, subject = int(headers.get("Nats-Sequence", "")), headers.get("Nats-Subject", "")
        if REPLAY_OF not in headers:  # who replays looks at once, and would see the old end
            await asyncio.sleep(HEAD_START)
        last = await self._log.last(task.task_id)
        if last is not None and last.facts.task_sequence == sequence:
            return  # a worker has picked it up
        message = await self._waiting.held(subject, sequence)
        if message is None or TASKS[message.kind].validate_json(message.body) != task:
            return  # settled already, or the copy is none: what is said comes from the stream
        if last is not None and not message.reopens(last, task):
            return  # whoever picks the message up takes it from the queue
        with suppress(OvertakenError):
            await self._queued(task, message, last, await self._waiting.place(message))

    async def open(self, task: Task, message: StoredMessage, *, place: Place | None = None) -> Entry:
        """The last entry of the message's log, opened with `queued` where need be.

        Raises AlreadyKnownError where the id is another message's, or this one was taken from the queue meanwhile.
        """
        surely_new = datetime.now(UTC) - message.time < timedelta(seconds=HEAD_START)
        while True:
            last = None if surely_new else await self._log.last(task.task_id)
            if last is not None and message.owns(last):
                return last
            if last is not None and not message.reopens(last, task):
                raise AlreadyKnownError(task.task_id)
            if last is None and await self._waiting.held(message.subject, message.sequence) is None:
                raise AlreadyKnownError(task.task_id)  # cancelled and deleted: it must not come back
            try:
                return await self._queued(task, message, last, place)
            except OvertakenError:
                surely_new = False  # another worker was faster: read what it wrote

    async def _queued(self, task: Task, message: StoredMessage, last: Entry | None, place: Place | None) -> Entry:
        event = ProgressEvent(
            task_id=task.task_id,
            kind=kind_of(task),
            state=State.QUEUED,
            max_attempts=self._max_attempts,
            sequence=last.event.sequence + 1 if last else 1,
            queue_position=place and place.position,
            expected_start=place and place.expected_start,
            time=datetime.now(UTC),
        )
        facts = message.facts(task)
        return await self._log.append(event, facts, after=last.stream_sequence if last else 0)
