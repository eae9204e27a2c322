"""Within one worker, who opens logs ahead and who picks tasks up do not get in each other's way."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from app.errors import OvertakenError
from app.log.entry import Entry, Facts
from app.log.task_log import TaskLog
from app.queue.log_opener import LogOpener
from app.queue.positions import WaitingTasks
from app.queue.stored_message import StoredMessage
from schemas.progress import ProgressEvent
from schemas.transcription import TranscriptionTask

TASK = TranscriptionTask(task_id="t1", audio_file_id="a.wav", user_id=1)
STORED_AT = datetime.now(UTC) - timedelta(minutes=1)


@dataclass
class FakeLog:
    """One task's log."""

    entries: list[Entry] = field(default_factory=list)
    refuses: bool = False
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answers: asyncio.Event = field(default_factory=asyncio.Event)

    async def append(self, event: ProgressEvent, facts: Facts, *, after: int) -> Entry:
        self.asked.set()
        await self.answers.wait()
        if self.refuses or after != len(self.entries):
            raise OvertakenError
        self.entries.append(Entry(event, facts, len(self.entries) + 1))
        return self.entries[-1]

    async def last(self, _: str) -> Entry | None:
        return self.entries[-1] if self.entries else None


class FakeWaiting:
    """Holds every message."""

    async def held(self, _: str, __: int) -> bool:
        return True


def message() -> StoredMessage:
    return StoredMessage(
        subject="tasks.transcription.normal",
        body=TASK.model_dump_json().encode(),
        headers={},
        sequence=1,
        time=STORED_AT,
    )


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def queue(log: FakeLog) -> LogOpener:
    return LogOpener(cast("TaskLog", log), cast("WaitingTasks", FakeWaiting()), max_attempts=4)


async def test_who_picks_a_task_up_waits_for_who_opens_it(queue: LogOpener, log: FakeLog) -> None:
    # Given a log that is being opened ahead
    ahead = asyncio.create_task(queue.open_ahead(TASK, message(), None))
    await log.asked.wait()
    # When the task is picked up in that moment
    picked_up = asyncio.create_task(queue.open(TASK, message()))
    await asyncio.sleep(0)
    log.answers.set()
    # Then it has the entry, and nothing was refused
    assert (await picked_up) is log.entries[0]
    await ahead
    assert len(log.entries) == 1


async def test_what_was_not_opened_ahead_after_all_is_opened_by_who_picks_it_up(queue: LogOpener, log: FakeLog) -> None:
    # Given an opening that is refused
    log.refuses = True
    ahead = asyncio.create_task(queue.open_ahead(TASK, message(), None))
    await log.asked.wait()
    picked_up = asyncio.create_task(queue.open(TASK, message()))
    await asyncio.sleep(0)
    log.answers.set()
    with pytest.raises(OvertakenError):
        await ahead
    # When nothing is there all the same
    log.refuses = False
    # Then whoever picked it up opens it
    assert (await picked_up).event.sequence == 1


async def test_what_was_picked_up_is_not_opened_ahead(queue: LogOpener, log: FakeLog) -> None:
    # Given a task that was picked up
    log.answers.set()
    await queue.open(TASK, message())
    # When it is announced late
    await queue.open_ahead(TASK, message(), None)
    # Then nothing is said twice, or refused
    assert len(log.entries) == 1
    # But a stream that was made anew counts from one again
    log.entries.clear()
    await queue.open_ahead(TASK.model_copy(update={"task_id": "t2"}), message(), None)
    assert len(log.entries) == 1
