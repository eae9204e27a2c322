"""What operators look at: the lanes of the queue and the dead letters."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import nats.errors
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from app.client.exchange import NO_QUEUE, no_worker
from app.settings import Settings
from app.streams import names
from schemas import subjects
from schemas.dead_letters import DeadLetter
from schemas.wire import Kind, Priority

NO_LETTERS = "NATS has no dead letters to show, because"


@dataclass(frozen=True)
class Lane:
    """How many tasks of a kind and priority wait, and run or wait for a retry; since when the oldest is there."""

    kind: Kind
    priority: Priority
    waiting: int
    running: int
    oldest: datetime | None


async def lanes(connection: Nats, settings: Settings) -> list[Lane]:
    """The lanes in the order in which they are served (NoWorkerError)."""
    js, called = connection.jetstream(), names(settings)
    found = []
    try:
        for priority in Priority:
            for kind in Kind:
                info = await js.consumer_info(called.tasks, called.lane(kind, priority))
                oldest = await _oldest(js, called.tasks, subjects.tasks(kind, priority))
                found.append(Lane(kind, priority, info.num_pending or 0, info.num_ack_pending or 0, oldest))
    except nats.errors.Error as error:
        raise no_worker(NO_QUEUE) from error
    return found


async def _oldest(js: JetStreamContext, stream: str, subject: str) -> datetime | None:
    try:
        return (await js.get_msg(stream, 1, subject, direct=True, next=True)).time
    except NotFoundError:
        return None


async def failed(connection: Nats, settings: Settings) -> int:
    """How many dead letters are kept (NoWorkerError)."""
    try:
        info = await connection.jetstream().stream_info(names(settings).dead_letters)
    except nats.errors.Error as error:
        raise no_worker(NO_LETTERS) from error
    return info.state.messages


async def dead_letters(connection: Nats, settings: Settings) -> AsyncIterator[DeadLetter]:
    """The dead letters, oldest first (NoWorkerError)."""
    js, stream, after = connection.jetstream(), names(settings).dead_letters, 0
    while True:
        try:
            entry = await js.get_msg(stream, after + 1, subjects.ALL_DEAD_LETTERS, direct=True, next=True)
        except NotFoundError:
            return
        except nats.errors.Error as error:
            raise no_worker(NO_LETTERS) from error
        after = entry.seq or 0
        with suppress(ValueError):  # somebody else wrote it
            yield DeadLetter.model_validate_json(entry.data or b"")
