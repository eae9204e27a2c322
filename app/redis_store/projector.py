"""The projector: writes progress events and results from their streams to Redis, many at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from app.errors import TransientError
from app.jetstream.pull_inbox import PullInbox
from app.redis_store.projection import Ended, RedisProjection
from app.supervision import run_forever
from app.task_log.record import Metadata, Record, read_result
from schemas.stream_names import StreamNames

EVENTS_AT_ONCE: Final = 300  # at once
RESULTS_AT_ONCE: Final = 20  # at once: each may be as large as a message can be
LINGER_S: Final = 5.0
GATHER_S: Final = 0.1  # events that arrive within this time are written together, and only the last one of each task
LONGEST_REST_S: Final = 0.5  # also after a slow Redis or a freeze of the process
MESSAGES_A_TURN: Final = 30  # everything else in this process waits for them, some milliseconds
RETRY_AFTER_S: Final = 2.0

T = TypeVar("T")
Project = Callable[[Sequence[RawStreamMsg]], Awaitable[None]]


async def run(nats: Client, names: StreamNames, projection: RedisProjection) -> None:
    """Project both streams until cancelled, through the durable consumers that all workers share."""
    events = PullInbox(nats, names.progress, names.progress_projection)
    results = PullInbox(nats, names.results, names.results_projection)
    await asyncio.gather(
        *(
            run_forever("projection", work, every_s=0, retry_after_s=RETRY_AFTER_S)
            for work in (
                partial(_project_next, events, EVENTS_AT_ONCE, partial(_project_events, projection)),
                partial(_project_next, results, RESULTS_AT_ONCE, partial(_project_results, projection)),
            )
        )
    )


async def _project_next(inbox: PullInbox, at_once: int, project: Project) -> None:
    """Project the messages that wait, then rest. A message without acknowledgement is delivered again, among others."""
    loop = asyncio.get_running_loop()
    messages = await inbox.ask(at_once) or await inbox.ask(1, within=LINGER_S)
    began = loop.time()
    await _settle(messages, project)
    more_wait = len(messages) == at_once  # then everything else gets as much of the process as these messages did
    await asyncio.sleep(min(loop.time() - began, LONGEST_REST_S) if more_wait else GATHER_S)


async def _settle(messages: list[Msg], project: Project) -> None:
    try:
        await project([_stored(message) async for message in _in_turns(messages)])
    except TransientError:
        for message in messages:
            await message.nak(delay=RETRY_AFTER_S)
        return
    async for message in _in_turns(messages):
        await message.ack()


async def _project_events(projection: RedisProjection, messages: Sequence[RawStreamMsg]) -> None:
    """Write the last event of each task: Redis keeps no others."""
    latest: dict[str | None, Record] = {}
    async for message in _in_turns(sorted(messages, key=lambda of: of.seq or 0, reverse=True)):
        if message.subject not in latest:
            with suppress(ValueError):  # no event of the service
                latest[message.subject] = Record.read(message)
    await projection.progressed(list(latest.values()))


async def _project_results(projection: RedisProjection, messages: Sequence[RawStreamMsg]) -> None:
    results: dict[str, Ended] = {}
    for message in messages:
        with suppress(ValueError):
            metadata = Metadata.read(message.headers or {})
            result = read_result(message)
            results[result.task_id] = Ended(metadata.task_sequence, message.data or b"", result.created_at)
        await asyncio.sleep(0)  # others run meanwhile: parsing a large result takes a while
    await projection.ended(results)


async def _in_turns(messages: Iterable[T]) -> AsyncIterator[T]:
    """The same items; after each MESSAGES_A_TURN of them, other tasks of the event loop run."""
    for number, message in enumerate(messages, 1):
        yield message
        if number % MESSAGES_A_TURN == 0:
            await asyncio.sleep(0)


def _stored(message: Msg) -> RawStreamMsg:
    """A delivered message as the stream holds it."""
    sequence = message.metadata.sequence.stream
    return RawStreamMsg(subject=message.subject, seq=sequence, data=message.data, headers=message.headers)
