"""How long `tasks.list` takes with many tasks, and what keeping the lists costs the projection."""

import asyncio
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.task_list import MOST_LISTED, TaskPage
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Priority, Queue

from app.redis_store.projection import Happened, RedisProjection
from app.redis_store.projection_feed import EVENTS_AT_ONCE
from app.task_log.record import Metadata, Record
from benchmarks.report import Findings, Table, milliseconds, quantile, whole
from benchmarks.service import NO_OP, serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh

USERS = 500
RARE_EVERY = 20_000  # one of so many tasks is of the rare user
RARE = "rare"
DEEP = 100  # pages
REQUEST_TIMEOUT_S = 5


async def measure(sizes: Sizes) -> Findings:
    """Project many tasks, and ask for pages of them, one after the other."""
    async with fresh() as stack, serving(stack, NO_OP):
        sizes.tell(f"{sizes.listed:,} tasks are projected")
        began = time.perf_counter()
        await _project(stack, sizes.listed)
        events_a_second = sizes.listed / (time.perf_counter() - began)
        pages: dict[str, Mapping[str, object]] = {
            "the newest 50": {},
            f"the newest {MOST_LISTED}": {"limit": MOST_LISTED},
            f"{MOST_LISTED}, {DEEP} pages later": {"limit": MOST_LISTED, "before": await _after_pages(stack)},
            f"{MOST_LISTED} of one of {USERS} users": {"limit": MOST_LISTED, "user_id": 7},
            "the few failed ones of a user": {"limit": MOST_LISTED, "user_id": RARE, "state": State.FAILED},
        }
        rows = []
        for name, request in pages.items():
            sizes.tell(name)
            times = [await _timed(stack, request) for _ in range(sizes.lists)]
            rows.append((name, milliseconds(quantile(times, 0.5)), milliseconds(max(times))))
    notes = [
        f"{sizes.lists} requests each, one after the other, to one worker that has nothing else to do.",
        f"The tasks were projected {EVENTS_AT_ONCE} at a time, {whole(events_a_second)} a second.",
    ]
    title = f"`tasks.list` with {sizes.listed:,} tasks, milliseconds"
    return Findings([Table(title, ("page", "p50", "worst"), rows, notes)])


async def _project(stack: Stack, count: int) -> None:
    projection = RedisProjection(stack.redis)
    for first in range(0, count, EVENTS_AT_ONCE):
        numbers = range(first, min(first + EVENTS_AT_ONCE, count))
        await projection.progressed([_happened(number) for number in numbers])
        await asyncio.sleep(0)


def _happened(number: int) -> Happened:
    """The last event of a task; the tasks are stored a millisecond after each other."""
    stored = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(milliseconds=number)
    user_id = RARE if number % RARE_EVERY == 0 else number % USERS
    task = TranscriptionTask(task_id=f"listed-{number}", audio_file_id=f"{number}.flac", user_id=user_id)
    event = ProgressEvent(
        task_id=task.task_id,
        kind=Queue.TRANSCRIPTION,
        state=State.FAILED if user_id == RARE else State.COMPLETED,
        progress=100,
        max_attempts=4,
        sequence=3,
        time=stored,
    )
    metadata = Metadata(task, number + 1, subjects.tasks(Queue.TRANSCRIPTION, Priority.NORMAL), stored)
    return Happened(Record(event, metadata, number + 1), age_s=0)


async def _after_pages(stack: Stack) -> str | None:
    """The place behind so many pages, or behind the last page but one."""
    before = (await _page(stack, {"limit": MOST_LISTED})).more_before
    for _ in range(DEEP):
        found = await _page(stack, {"limit": MOST_LISTED, "before": before})
        if found.more_before is None:
            break
        before = found.more_before
    return before


async def _timed(stack: Stack, request: Mapping[str, object]) -> float:
    """Seconds until the page is there and read."""
    began = time.perf_counter()
    await _page(stack, request)
    return time.perf_counter() - began


async def _page(stack: Stack, request: Mapping[str, object]) -> TaskPage:
    reply = await stack.nats.request(subjects.LIST, json.dumps(request).encode(), timeout=REQUEST_TIMEOUT_S)
    return TaskPage.model_validate_json(reply.data)
