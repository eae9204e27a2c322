"""Reads the task queues and the dead letters, for operators."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime

import nats.errors
from nats.aio.client import Client as Nats
from nats.js.errors import ServiceUnavailableError
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.requests import TaskRequest, TaskStatus

from app.client.errors import NoJetStreamError, NoWorkerError, RequestFailedError
from app.client.exchange import NO_QUEUE, ask, no_worker
from app.jetstream.stream_pages import last_of_each, pages
from app.jetstream.streams import names
from app.queue.priorities import QueueReader, TaskQueue
from app.queue.stored_message import StoredMessage
from app.settings import Settings

NO_DEAD_LETTERS = "NATS has no dead letters to show, because"


async def task_queues(connection: Nats, settings: Settings) -> list[TaskQueue]:
    """Return the task queues, the highest priority first.

    Raises:
        NoJetStreamError: NATS has no JetStream.
        NoWorkerError: The task stream does not exist, because no worker has created it.
    """
    try:
        queues = await QueueReader(connection, names(settings)).read(sample=1)
    except ServiceUnavailableError as error:
        raise NoJetStreamError from error
    except nats.errors.Error as error:
        raise no_worker(NO_QUEUE) from error
    return list(queues.by_key.values())


async def newest_start(connection: Nats, settings: Settings, queue: TaskQueue) -> datetime | None:
    """Return when the newest task of a task queue is expected to start, or None if this is unknown.

    Raises:
        ClientError: The service does not reply.
    """
    found = await last_of_each(connection, names(settings).tasks, [queue.subject]) if queue.waiting else []
    known = StoredMessage.fetched(found[0]).task_id if found else None
    if known is None:
        return None
    try:
        return (await ask(connection, subjects.STATUS, TaskRequest(task_id=known), TaskStatus)).expected_start
    except (NoWorkerError, RequestFailedError):  # no worker runs, or the task has just started
        return None


async def failed(connection: Nats, settings: Settings) -> int:
    """Return the number of stored dead letters.

    Raises:
        NoWorkerError: The stream does not exist, because no worker has created it.
    """
    try:
        info = await connection.jetstream().stream_info(names(settings).dead_letters)
    except nats.errors.Error as error:
        raise no_worker(NO_DEAD_LETTERS) from error
    return info.state.messages


async def dead_letters(connection: Nats, settings: Settings) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters, oldest first.

    Raises:
        NoWorkerError: The stream does not exist, because no worker has created it.
    """
    try:
        if not await failed(connection, settings):  # also tells whether this user may read them
            return
        async for found in pages(connection, names(settings).dead_letters, subjects.ALL_DEAD_LETTERS):
            for message in found:
                with suppress(ValueError):  # skip a message that is no dead letter of the service
                    yield DeadLetter.model_validate_json(message.data or b"")
    except nats.errors.Error as error:
        raise no_worker(NO_DEAD_LETTERS) from error
