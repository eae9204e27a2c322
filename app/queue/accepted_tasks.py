"""Accepted tasks: `queued`, said of what the task stream stored a moment ago, of as many as there are at once."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from nats.errors import Error as NatsError

from app.errors import OvertakenError, TransientError
from app.log.entry import TASKS, Entry
from app.log.task_log import TaskLog
from app.queue.log_opener import LogOpener
from app.queue.positions import QUEUE_KEYS, Position, WaitingTasks
from app.queue.stored_message import StoredMessage
from app.updates import Task
from schemas.headers import REPLAY_OF

HEAD_START: Final = 0.05  # seconds: an idle worker, which has picked the task up by then, is not to be held up
RETRY_AFTER: Final = 2.0  # seconds
AT_ONCE: Final = 200  # tasks; more of them wait with the server's copies
SEQUENCES: Final = 2**63

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AcceptedTask:
    """A task as the copy of its message tells it: anybody may have sent that."""

    task: Task
    subject: str
    sequence: int  # in the task stream

    @classmethod
    def read(cls, task: Task, headers: Mapping[str, str]) -> "AcceptedTask":
        """Read it from the headers that the server gives a copy (ValueError)."""
        subject, sequence = headers.get("Nats-Subject", ""), int(headers.get("Nats-Sequence", ""))
        if subject not in QUEUE_KEYS or not 0 < sequence < SEQUENCES:
            message = "a copy of no task message"
            raise ValueError(message)
        return cls(task, subject, sequence)


class AcceptedTasks:
    """Opens the logs of tasks that no worker has picked up yet."""

    def __init__(self, log: TaskLog, opener: LogOpener, waiting: WaitingTasks) -> None:
        self._log = log
        self._opener = opener
        self._waiting = waiting
        self._accepted: asyncio.Queue[AcceptedTask] = asyncio.Queue(AT_ONCE)

    async def accept(self, task: Task, headers: Mapping[str, str]) -> None:
        """Have `queued` said soon, where every worker is busy (ValueError)."""
        announced = AcceptedTask.read(task, headers)
        if REPLAY_OF in headers:  # who replays looks at once, and would see the old end
            await self.open([announced])
        else:
            await self._accepted.put(announced)

    async def run(self) -> None:
        """Open what is announced until cancelled."""
        while True:
            announced = [await self._accepted.get()]
            await asyncio.sleep(HEAD_START)
            while not self._accepted.empty():
                announced.append(self._accepted.get_nowait())
            while not await self._opens(announced):  # noqa: ASYNC110 -- nobody tells when it can be done
                await asyncio.sleep(RETRY_AFTER)

    async def _opens(self, announced: Sequence[AcceptedTask]) -> bool:
        """Whether what is announced is opened, or never will be from here: whoever picks it up opens its log."""
        try:
            await self.open(announced)
        except (NatsError, TransientError) as error:
            log.warning("tasks_unopened", count=len(announced), error=str(error) or type(error).__name__)
            return False
        except Exception:
            log.exception("tasks_unopened", count=len(announced))  # the next ones are in other company
        return True

    async def open(self, announced: Sequence[AcceptedTask]) -> None:
        """Say `queued` where nobody has spoken yet, as the stream itself tells it (NatsError, TransientError)."""
        known = await self._log.last_of(each.task.task_id for each in announced)
        unopened = [each for each in announced if not _opened(each, known.get(each.task.task_id))]
        lanes = dict.fromkeys(each.subject for each in unopened)  # in the order in which they were announced
        found = [each for subject in lanes for each in await self._held(subject, unopened)]
        await asyncio.gather(
            *(self._say_queued(each, message, known.get(each.task.task_id), place) for each, message, place in found)
        )

    async def _held(
        self, subject: str, unopened: Iterable[AcceptedTask]
    ) -> list[tuple[AcceptedTask, StoredMessage, Position | None]]:
        """Those of a lane whose message is still in the queue and says the same."""
        asked: dict[int, list[AcceptedTask]] = {}  # anybody may announce the same sequence with another task
        for each in unopened:
            if each.subject == subject:
                asked.setdefault(each.sequence, []).append(each)
        return [
            (each, message, place)
            for message, place in await self._waiting.find(subject, asked)
            for each in asked[message.sequence]
            if _says_the_same(message, each.task)
        ]

    async def _say_queued(
        self, announced: AcceptedTask, message: StoredMessage, last: Entry | None, place: Position | None
    ) -> None:
        opens = message.replay_of is None if last is None else message.reopens(last, announced.task)
        if opens:  # else whoever picks the message up takes it away
            with suppress(OvertakenError):
                await self._opener.open_ahead(announced.task, message, last, place=place)


def _opened(announced: AcceptedTask, last: Entry | None) -> bool:
    """Whether a worker has picked it up meanwhile."""
    return last is not None and last.facts.task_sequence == announced.sequence


def _says_the_same(message: StoredMessage, task: Task) -> bool:
    try:
        return TASKS[message.kind].validate_json(message.body) == task
    except ValueError:
        return False
