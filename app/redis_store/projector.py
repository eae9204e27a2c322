"""The projector: shows the service's own events in Redis, as many at once as there are."""

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
from app.task_log.log import read_result
from app.task_log.record import Metadata, Record
from schemas.stream_names import StreamNames

EVENTS_AT_ONCE: Final = 300  # at once
RESULTS_AT_ONCE: Final = 20  # at once: each may be as large as a message can be
LINGER_S: Final = 5.0
GATHER_S: Final = 0.1  # what comes meanwhile is shown together, and of a task only the last
LONGEST_REST_S: Final = 0.5  # a slow Redis, or a freeze, is no reason to rest for long
MESSAGES_A_TURN: Final = 30  # messages: others wait for these, some milliseconds
RETRY_AFTER_S: Final = 2.0

T = TypeVar("T")
Show = Callable[[Sequence[RawStreamMsg]], Awaitable[None]]


async def run(nats: Client, names: StreamNames, projection: RedisProjection) -> None:
    """Show what the streams keep, by the durable consumers that all workers share, until cancelled."""
    events = PullInbox(nats, names.progress, names.progress_projection)
    results = PullInbox(nats, names.results, names.results_projection)
    await asyncio.gather(
        *(
            run_forever("projection", work, every_s=0, retry_after_s=RETRY_AFTER_S)
            for work in (
                partial(_show_next, events, EVENTS_AT_ONCE, partial(_show_events, projection)),
                partial(_show_next, results, RESULTS_AT_ONCE, partial(_show_results, projection)),
            )
        )
    )


async def _show_next(inbox: PullInbox, at_once: int, show: Show) -> None:
    """Show what waits, then rest; whatever is not acknowledged comes again, in other company."""
    loop = asyncio.get_running_loop()
    messages = await inbox.ask(at_once) or await inbox.ask(1, within=LINGER_S)
    began = loop.time()
    await _settle(messages, show)
    more_wait = len(messages) == at_once  # others get as much of the worker as these did
    await asyncio.sleep(min(loop.time() - began, LONGEST_REST_S) if more_wait else GATHER_S)


async def _settle(messages: list[Msg], show: Show) -> None:
    try:
        await show([_stored(message) async for message in _in_turns(messages)])
    except TransientError:
        for message in messages:
            await message.nak(delay=RETRY_AFTER_S)
        return
    async for message in _in_turns(messages):
        await message.ack()


async def _show_events(projection: RedisProjection, messages: Sequence[RawStreamMsg]) -> None:
    """The latest of each task: what came before it nobody would see."""
    latest: dict[str | None, Record] = {}
    async for message in _in_turns(sorted(messages, key=lambda of: of.seq or 0, reverse=True)):
        if message.subject not in latest:
            with suppress(ValueError):  # somebody else's: it is let go
                latest[message.subject] = Record.read(message)
    await projection.progressed(list(latest.values()))


async def _show_results(projection: RedisProjection, messages: Sequence[RawStreamMsg]) -> None:
    results: dict[str, Ended] = {}
    for message in messages:
        with suppress(ValueError):
            metadata = Metadata.read(message.headers or {})
            result = read_result(message)
            results[result.task_id] = Ended(metadata.task_sequence, message.data or b"", result.created_at)
        await asyncio.sleep(0)  # a large one takes a while to read
    await projection.ended(results)


async def _in_turns(messages: Iterable[T]) -> AsyncIterator[T]:
    """One by one, so that others get their turn."""
    for number, message in enumerate(messages, 1):
        yield message
        if number % MESSAGES_A_TURN == 0:
            await asyncio.sleep(0)


def _stored(message: Msg) -> RawStreamMsg:
    """A delivery, as the stream holds it."""
    sequence = message.metadata.sequence.stream
    return RawStreamMsg(subject=message.subject, seq=sequence, data=message.data, headers=message.headers)
