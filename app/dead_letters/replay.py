"""Replay: queue the tasks of dead letters again, at the request of an operator."""

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.stream_pages import PAGE_SIZE
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.kinds import read_task
from natscribe.schemas.progress import State
from natscribe.schemas.requests import ReplayRequest, no_dead_letter
from natscribe.schemas.stream_names import StreamNames

from app.dead_letters.store import REPLY_WITHIN_S, DeadLetterStore
from app.errors import RequestError, refusal
from app.task_log.log import TaskLog
from app.task_log.record import Record

REGISTERED_WITHIN_S = 1.0  # how long a replay waits for the registration of its tasks, after ANSWER_WITHIN_S
LOGS_READ_EVERY_S = 0.01  # pause between two reads while a replay waits for registrations
HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # names that clients accept; nats-server accepts more
EXPECTATIONS = "nats-expected"  # prefix of headers that were conditions of the first publish


class QueueFullError(RequestError):
    """The queue of a task is full."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INTERNAL, "The task's queue is full: ask again when tasks are done.")


@dataclass(slots=True)
class _Replay:
    """The state of a replay that is in progress."""

    deadline: float  # monotonic time after which the replay stops, if it has queued a task
    # The tasks queued so far: task id, and stream sequence of the event `failed`.
    ends: dict[str, int] = field(default_factory=dict)
    full: set[str] = field(default_factory=set)  # subjects of full queues
    without_log: bool = False  # whether a chosen task has no log any more: logs expire before dead letters

    @property
    def is_over(self) -> bool:
        """Whether the time for the replay is over; a replay that has queued no task yet goes on."""
        return bool(self.ends) and time.monotonic() > self.deadline


class Replayer:
    """Publishes the tasks of dead letters again, and deletes these dead letters."""

    def __init__(self, nats: Client, letters: DeadLetterStore, log: TaskLog, names: StreamNames) -> None:
        self._js = nats.jetstream()
        self._letters = letters
        self._log = log
        self._names = names

    async def replay(self, request: ReplayRequest) -> int:
        """Queue the chosen tasks, each once, until the time is over; return how many are queued.

        A task whose queue is full is not queued, and keeps its dead letter.

        Raises:
            RequestError: The requested task has no dead letter or no log, or all queues of the chosen tasks are full.
        """
        replay, found = _Replay(deadline=time.monotonic() + REPLY_WITHIN_S), False
        # Later dead letters do not count: their tasks have failed again during the replay.
        newest = await self._last_of(self._names.dead_letters)
        async for letters in self._letters.pages():
            chosen = [(number, letter) for number, letter in letters if number <= newest and request.chooses(letter)]
            found = found or bool(chosen)
            await self._replay_all(chosen, replay)
            if replay.is_over or (letters and letters[-1][0] > newest):
                break
        if request.task_id and not found:
            raise refusal(no_dead_letter(request.task_id))
        if request.task_id and replay.without_log:
            message = f"The events of task {request.task_id} are kept no longer: publish it again under a new id."
            raise RequestError(ErrorCode.NOT_FOUND, message)
        if replay.full and not replay.ends:
            raise QueueFullError
        await self._wait_until_registered(replay.ends)
        return len(replay.ends)

    async def _replay_all(self, letters: Sequence[tuple[int, DeadLetter]], replay: _Replay) -> None:
        # Newer segments than these may belong to the next run of a replayed task.
        stale = await self._last_of(self._names.segments)
        for sequence, letter in letters:
            if replay.is_over:
                return
            last = await self._log.last(letter.task_id) if letter.task_id else None
            replay.without_log |= last is None
            if last is None or letter.subject in replay.full:
                continue
            try:
                if await self._replay(sequence, letter, last, stale):
                    replay.ends[last.event.task_id] = last.stream_sequence
            except QueueFullError:
                replay.full.add(letter.subject)

    async def _replay(self, sequence: int, letter: DeadLetter, last: Record, stale: int) -> bool:
        """Queue the task of a dead letter again, if it has failed and is not queued; return whether it was queued now.

        Remove the segments of the task up to stream sequence `stale`, so that the task starts from its beginning.
        """
        task_id = last.event.task_id
        if last.event.state is not State.FAILED or not _is_of(letter, last):
            return False
        headers = {
            name: value
            for name, value in letter.headers.items()
            if HEADER_NAME.fullmatch(name) and not name.lower().startswith(EXPECTATIONS)
        } | {"Nats-Msg-Id": f"replay-{task_id}-{last.stream_sequence}", REPLAY_OF: str(last.stream_sequence)}
        await self._js.purge_stream(self._names.segments, subject=subjects.segments(task_id), seq=stale + 1)
        try:
            stored = await self._js.publish(letter.subject, letter.sent, headers=headers)
        except APIError as error:
            if error.err_code == QUEUE_FULL:
                raise QueueFullError from error
            raise
        if stored.duplicate:  # another request has replayed this task
            return False
        await self._letters.delete_one(sequence)
        return True

    async def _wait_until_registered(self, ends: dict[str, int]) -> None:
        """Wait up to REGISTERED_WITHIN_S for the events `queued`: before, a client would still see the old `failed`.

        `ends` has the stream sequence of each task's event `failed`. Only the tasks that were queued last are watched.
        """
        # One read takes PAGE_SIZE logs, so only the tasks that were queued last are watched: they are registered last.
        missing = dict(islice(reversed(ends.items()), PAGE_SIZE))
        with suppress(TimeoutError, NatsError):
            async with asyncio.timeout(REGISTERED_WITHIN_S):
                while missing:
                    await asyncio.sleep(LOGS_READ_EVERY_S)
                    known = await self._log.last_of(missing)
                    ends_now = {each: record.stream_sequence for each, record in known.items()}
                    missing = dict(missing.items() & ends_now.items())

    async def _last_of(self, stream: str) -> int:
        return (await self._js.stream_info(stream)).state.last_seq or 0


def _is_of(letter: DeadLetter, last: Record) -> bool:
    """Return whether the letter holds the task that has failed: an invalid message may have the same task id."""
    with suppress(ValueError):  # nor is a body that was cut a task
        return read_task(subjects.queue_of(letter.subject)[0], letter.sent) == last.metadata.task
    return False
