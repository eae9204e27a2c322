"""Feeds the projection: pulls batches of progress events and of results from JetStream, and writes them to Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from natscribe.schemas.stream_names import StreamNames

from app.runtime.errors import TransientError
from app.runtime.supervision import OUTAGE_PAUSE_S, run_forever
from app.storage.jetstream.pull_inbox import GATHER_S, LINGER_S, PullInbox
from app.storage.jetstream.records import UnreadableError, read_record
from app.storage.jetstream.server_time import server_time
from app.tasks.projection.projection import ProjectedEvent, ProjectedResult, RedisProjection
from app.tasks.task_log.record import Record, StoredOutcome

MAX_EVENTS_PER_BATCH: Final = 300  # the most events that are projected at once
MAX_RESULTS_PER_BATCH: Final = 20  # the most results: each may have the largest allowed size of a message
MAX_REST_S: Final = 0.5  # limit of the pause after a full batch
MESSAGES_A_TURN: Final = 30  # messages that are handled, within milliseconds, before the event loop runs other work

T = TypeVar("T")
Project = Callable[[Sequence[RawStreamMsg], datetime], Awaitable[None]]
Now = Callable[[], Awaitable[datetime]]  # the server's time


async def run(nats: Client, names: StreamNames, projection: RedisProjection) -> None:
    """Copy progress events and results from their streams to Redis, until cancelled.

    All workers share the durable consumers of the two streams, so each message is copied by one worker.
    """
    events = PullInbox(nats, names.progress, names.progress_projection)
    results = PullInbox(nats, names.results, names.results_projection)
    now = partial(server_time, nats, names.progress)
    await asyncio.gather(
        *(
            run_forever("projection", work, every_s=0, retry_after_s=OUTAGE_PAUSE_S)
            for work in (
                partial(_project_next, events, MAX_EVENTS_PER_BATCH, partial(_project_events, projection), now),
                partial(_project_next, results, MAX_RESULTS_PER_BATCH, partial(_project_results, projection), now),
            )
        )
    )


async def _project_next(inbox: PullInbox, at_once: int, project: Project, now: Now) -> None:
    """Pull up to `at_once` messages, write them to Redis with `project` and acknowledge them; then pause.

    The pause lets other work run. JetStream delivers a message again if it was not acknowledged.
    """
    loop = asyncio.get_running_loop()
    messages = await inbox.pull(at_once) or await inbox.pull(1, within=LINGER_S)
    started_at = loop.time()
    if messages:
        await _settle(messages, project, now)
    more_wait = len(messages) == at_once
    # After a full batch, pause as long as it took, so that other work gets half of the time.
    await asyncio.sleep(min(loop.time() - started_at, MAX_REST_S) if more_wait else GATHER_S)


async def _settle(messages: list[Msg], project: Project, now: Now) -> None:
    """Write messages to Redis with `project`, then acknowledge them.

    If NATS or Redis refuses or does not answer, return all messages to JetStream, which delivers them again later, and
    raise the error. Messages that only another version of the service can parse are returned one by one; no error is
    raised for them. `now`: returns the current time of the NATS server.

    Raises:
        TransientError: Redis is unavailable, or refuses the service.
        NatsError: NATS does not answer.
    """
    try:
        await project([_stored(message) async for message in _in_turns(messages)], await now())
    except UnreadableError:  # only another version can read one of them
        for message in messages:
            await (_settle([message], project, now) if len(messages) > 1 else message.nak(delay=OUTAGE_PAUSE_S))
        return
    except (TransientError, NatsError):
        for message in messages:
            await message.nak(delay=OUTAGE_PAUSE_S)
        raise
    async for message in _in_turns(messages):
        await message.ack()


async def _project_events(projection: RedisProjection, messages: Sequence[RawStreamMsg], now: datetime) -> None:
    """Write the latest event of each task to Redis; earlier events among `messages` are not needed."""
    latest: dict[str | None, ProjectedEvent] = {}
    async for message in _in_turns(sorted(messages, key=lambda message: message.seq or 0, reverse=True)):
        if message.subject not in latest:
            record = read_record(Record.read, message)
            if record is not None:
                latest[message.subject] = ProjectedEvent(record, _age_s(message, now))
    await projection.write_events(list(latest.values()))


async def _project_results(projection: RedisProjection, messages: Sequence[RawStreamMsg], now: datetime) -> None:
    results: dict[str, ProjectedResult] = {}
    for message in messages:
        stored = read_record(StoredOutcome.read, message)
        if stored is not None:
            ended = ProjectedResult(stored.metadata.task_sequence, message.data or b"", _age_s(message, now))
            results[stored.outcome.task_id] = ended
        await asyncio.sleep(0)  # run other work between two results: parsing a large result takes long
    await projection.write_results(results)


async def _in_turns(messages: Iterable[T]) -> AsyncIterator[T]:
    """Yield `messages` in order; after every MESSAGES_A_TURN messages, let the event loop run other work."""
    for number, message in enumerate(messages, 1):
        yield message
        if number % MESSAGES_A_TURN == 0:
            await asyncio.sleep(0)


def _stored(message: Msg) -> RawStreamMsg:
    """Convert a message from a consumer to a `RawStreamMsg`, the type of messages that are read from a stream."""
    metadata = message.metadata
    return RawStreamMsg(
        subject=message.subject,
        seq=metadata.sequence.stream,
        data=message.data,
        headers=message.headers,
        time=metadata.timestamp.astimezone(UTC),
    )


def _age_s(message: RawStreamMsg, now: datetime) -> float:
    return (now - message.time).total_seconds() if message.time else 0.0
