"""Reads what belongs to no single task: the task queues, the dead letters, the workers and the voices of a user."""

from collections.abc import AsyncIterator
from contextlib import suppress

import nats.errors
from nats.aio.client import Client as Nats
from nats.js.errors import ServiceUnavailableError

from natscribe.client.errors import ClientError, NoJetStreamError, NotAllowedError, NoWorkerError, UnreachableError
from natscribe.client.exchange import INCOMPATIBLE, NO_QUEUE, NO_REPLY, no_worker_error, request
from natscribe.client.permissions import Connection
from natscribe.client.submission import build_message
from natscribe.jetstream.dead_letters import dead_letter_pages
from natscribe.jetstream.stream_pages import page
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.task_queues import QueueOverview, QueueRequest, QueueStatus
from natscribe.schemas.voices import Voice, VoicePage, VoicesRequest
from natscribe.schemas.wire import Lane, Priority
from natscribe.schemas.workers import WorkerInfo, WorkersRequest
from natscribe.settings import Settings

REPLIES_WITHIN_S = 1.5  # a worker checks its servers for a second
NO_DEAD_LETTERS = "NATS has no dead letters to show, because"


async def queue_overview(connection: Nats, settings: Settings) -> QueueOverview:
    """Request the state of the task queues from a worker, and return it.

    If no worker runs, the client reads the state from NATS, and reports all stored tasks as waiting.

    Raises:
        NoJetStreamError: NATS has no JetStream.
        NoWorkerError: No worker runs, and the client cannot read the state: no worker has ever run with this NATS, or
            the user is no operator.
    """
    try:
        return await request(connection, subjects.TASK_QUEUES, QueueRequest(), QueueOverview)
    except NoWorkerError as error:
        try:
            return await _overview_of_nats(connection, settings.stream_names)
        except NotAllowedError:  # only an operator may read the task stream
            raise error from None


async def _overview_of_nats(connection: Nats, names: StreamNames) -> QueueOverview:
    try:
        info = await connection.jetstream().stream_info(names.tasks, subjects_filter=subjects.ALL_TASKS)
        stored = info.state.subjects or {}
        queues = [
            await _queue_status(connection, names, lane, priority, stored.get(subjects.tasks(lane, priority), 0))
            for priority in Priority
            for lane in Lane
        ]
    except ServiceUnavailableError as error:
        raise NoJetStreamError from error
    except nats.errors.Error as error:
        raise no_worker_error(NO_QUEUE) from error
    return QueueOverview(queues=queues, dead_letters=await _count_dead_letters(connection, names))


async def _queue_status(
    connection: Nats, names: StreamNames, lane: Lane, priority: Priority, stored: int
) -> QueueStatus:
    """Return the state of a task queue while no worker runs, so that all its tasks wait.

    `names`: the names of the deployment's streams. `stored`: the number of messages in the queue.
    """
    first = await page(connection, names.tasks, subjects.tasks(lane, priority), start=1, count=1) if stored else []
    return QueueStatus(
        queue=lane,
        kind=lane.kind,
        priority=priority,
        waiting=stored,
        running=0,
        oldest=first[0].time if first else None,
    )


async def _count_dead_letters(connection: Nats, names: StreamNames) -> int:
    """Return the number of stored dead letters.

    Raises:
        NoWorkerError: The stream cannot be read; usually no worker has created it yet.
    """
    try:
        info = await connection.jetstream().stream_info(names.dead_letters)
    except nats.errors.Error as error:
        raise no_worker_error(NO_DEAD_LETTERS) from error
    return info.state.messages


async def dead_letters(connection: Nats, settings: Settings) -> AsyncIterator[DeadLetter]:
    """Yield all dead letters, i.e. task messages that failed permanently, the oldest first.

    Raises:
        NoWorkerError: The stream cannot be read; usually no worker has created it yet.
        NotAllowedError: The user may not read the stream.
    """
    if not await _count_dead_letters(connection, settings.stream_names):  # fails if this user may not read them
        return
    try:
        async for page in dead_letter_pages(connection, settings.stream_names.dead_letters):
            for _, letter in page:
                yield letter
    except nats.errors.Error as error:
        raise no_worker_error(NO_DEAD_LETTERS) from error


async def voices(connection: Nats, user_id: int | str) -> AsyncIterator[Voice]:
    """Yield all voices, i.e. enrolled persons, of a user; for exceptions see `Client`."""
    after: int | None = 0
    while after is not None:
        message = build_message(VoicesRequest, {"user_id": user_id, "after": after})
        listed = await request(connection, subjects.VOICES, message, VoicePage)
        for voice in listed.voices:
            yield voice
        after = listed.more_after


async def workers(connection: Connection) -> list[WorkerInfo]:
    """Return the version, model and health of each running worker, sorted by the name of the worker.

    Raises:
        NoWorkerError: No worker runs.
        UnreachableError: No worker replies in time.
        ClientError: The workers have an incompatible version.
        NotAllowedError: The user may not send this request.
    """
    body = WorkersRequest().model_dump_json().encode()
    try:
        replies = await connection.request_all(subjects.WORKERS, body, within=REPLIES_WITHIN_S)
    except nats.errors.NoRespondersError as error:
        raise no_worker_error(NO_REPLY) from error
    except nats.errors.Error as error:
        message = "NATS does not answer: try again in a moment."
        raise UnreachableError(message) from error
    if not replies:
        message = "No worker replied in time: try again in a moment."
        raise UnreachableError(message)
    infos: list[WorkerInfo] = []
    for reply in replies:
        with suppress(ValueError):  # a worker of another version
            infos.append(WorkerInfo.model_validate_json(reply.data))
    if not infos:
        raise ClientError(INCOMPATIBLE)
    return sorted(infos, key=lambda info: info.worker)
