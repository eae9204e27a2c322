"""Replay: when an operator requests it, queues tasks of dead letters (failed task messages) again."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from itertools import islice

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError
from natscribe.jetstream.cloud_events import JSON
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.stream_pages import PAGE_SIZE
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.kinds import read_task
from natscribe.schemas.progress import State
from natscribe.schemas.request_errors import no_dead_letter
from natscribe.schemas.requests import ReplayRequest
from natscribe.schemas.stream_names import StreamNames

from app.runtime.errors import RequestError
from app.tasks.dead_letters.store import REPLY_WITHIN_S, DeadLetterStore
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record

REGISTERED_WITHIN_S = 1.0  # how long a replay waits for the registration of its tasks, after REPLY_WITHIN_S
LOGS_READ_EVERY_S = 0.01  # pause between two reads while a replay waits for registrations
HEADER_NAME = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # names that clients accept; nats-server accepts more
EXPECTATIONS = "nats-expected"  # prefix of headers that were conditions of the first publish


class QueueFullError(RequestError):
    """The task of a dead letter cannot be queued again, because its task queue is full."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INTERNAL, "The task's queue is full: try again when tasks are done.")


class Replayer:
    """Publishes the task messages of dead letters again, and deletes these dead letters."""

    def __init__(
        self, nats: Client, publisher: LogicPublisher, letters: DeadLetterStore, log: TaskLog, names: StreamNames
    ) -> None:
        self._js = nats.jetstream()
        self._publisher = publisher
        self._dead_letters = letters
        self._log = log
        self._names = names

    async def replay(self, request: ReplayRequest) -> int:
        """Queue the tasks of the chosen dead letters again, each once; return how many were queued.

        The dead letters of other tasks remain: of those whose queue is full, and those not reached in REPLY_WITHIN_S.

        Raises:
            RequestError: The requested task has no dead letter or no log, or all queues of the chosen tasks are full.
        """
        queued: dict[str, int] = {}  # the tasks queued so far, each with the stream sequence of its event `failed`
        full: set[str] = set()  # the subjects of full task queues
        has_chosen = without_log = False
        async for sequence, letter, segments_before in self._chosen(request, queued):
            has_chosen = True
            last = await self._log.last(letter.task_id) if letter.task_id else None
            without_log |= last is None  # logs expire before dead letters
            if last is None or letter.subject in full:
                continue
            try:
                if await self._replay(sequence, letter, last, segments_before):
                    queued[last.event.task_id] = last.stream_sequence
            except QueueFullError:
                full.add(letter.subject)
        if request.task_id and not has_chosen:
            raise RequestError.of(no_dead_letter(request.task_id))
        if request.task_id and without_log:
            message = f"The events of task {request.task_id} are no longer stored: submit it again under a new id."
            raise RequestError(ErrorCode.NOT_FOUND, message)
        if full and not queued:
            raise QueueFullError
        await self._wait_until_registered(queued)
        return len(queued)

    async def _chosen(
        self, request: ReplayRequest, queued: Collection[str]
    ) -> AsyncIterator[tuple[int, DeadLetter, int]]:
        """Yield the dead letters that a request chooses, each with its stream sequence, the oldest first.

        The third value is a stream sequence: segments after it may belong to the next run of a replayed task. Letters
        stored after this call are omitted, because they belong to tasks that failed again. `queued`: the tasks that the
        caller has queued so far; if there are any, end after REPLY_WITHIN_S.
        """
        deadline = time.monotonic() + REPLY_WITHIN_S
        newest = await self._last_of(self._names.dead_letters)
        async for page in self._dead_letters.pages():
            segments_before = await self._last_of(self._names.segments)
            for sequence, letter in page:
                if queued and time.monotonic() > deadline:
                    return
                if sequence <= newest and request.chooses(letter):
                    yield sequence, letter, segments_before
            if page and page[-1][0] > newest:
                return

    async def _replay(self, sequence: int, letter: DeadLetter, last: Record, segments_before: int) -> bool:
        """Queue the task of a dead letter again, then delete the dead letter; return whether the task was queued.

        Return False if the task has not failed, if the dead letter holds another message with the same task id, or if
        another request has already queued the task.

        `sequence`: the stream sequence of the dead letter. `last`: the last record of the task's log.
        `segments_before`: a stream sequence; the task's segments up to and including it are deleted, so that the task
        starts over.

        Raises:
            QueueFullError: The task queue is full.
        """
        task_id = last.event.task_id
        if last.event.state is not State.FAILED or not _is_of(letter, last):
            return False
        headers = (
            {"content-type": JSON}
            | {
                name: value
                for name, value in letter.headers.items()
                if HEADER_NAME.fullmatch(name) and not name.lower().startswith(EXPECTATIONS)
            }
            | {"Nats-Msg-Id": f"replay-{task_id}-{last.stream_sequence}", REPLAY_OF: str(last.stream_sequence)}
        )
        await self._log.purge_segments(task_id, up_to=segments_before)
        # A request, because `publish(stream=...)` would add a header to the stored task.
        stored = json.loads((await self._publisher.request(letter.sent, letter.subject, headers)).body)
        if error := stored.get("error"):
            if error["err_code"] == QUEUE_FULL:
                raise QueueFullError
            raise APIError(**error)
        if stored.get("duplicate"):  # another request has replayed this task
            return False
        await self._dead_letters.delete_one(sequence)
        return True

    async def _wait_until_registered(self, failed_at: dict[str, int]) -> None:
        """Wait up to REGISTERED_WITHIN_S until the logs of the replayed tasks have a new event `queued`.

        Without this wait, a client that requests the status right after the reply could still get `failed`.
        `failed_at`: by task id, the stream sequence of the event `failed` with which the log ended before the replay.
        """
        # One read takes PAGE_SIZE logs, so only the tasks that were queued last are watched: they are registered last.
        missing = dict(islice(reversed(failed_at.items()), PAGE_SIZE))
        with suppress(TimeoutError, NatsError):
            async with asyncio.timeout(REGISTERED_WITHIN_S):
                while missing:
                    await asyncio.sleep(LOGS_READ_EVERY_S)
                    records = await self._log.last_of(missing)
                    last = {task_id: record.stream_sequence for task_id, record in records.items()}
                    missing = dict(missing.items() & last.items())

    async def _last_of(self, stream: str) -> int:
        return (await self._js.stream_info(stream)).state.last_seq or 0


def _is_of(letter: DeadLetter, last: Record) -> bool:
    """Return whether a dead letter holds the message of the task whose log ends with `last`.

    If not, the dead letter holds another message with the same task id, such as an invalid one.
    """
    with suppress(ValueError):  # the body may be truncated
        return read_task(subjects.queue_of(letter.subject)[0], letter.sent) == last.metadata.task
    return False
