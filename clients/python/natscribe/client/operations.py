"""Reads what belongs to no single task: erased tasks, dead letters, the workers and the voices of a user."""

from collections.abc import AsyncIterator
from contextlib import suppress

import nats.errors
from nats.aio.client import Client as Nats

from natscribe.client.errors import ClientError, UnreachableError
from natscribe.client.exchange import INCOMPATIBLE, NO_REPLY, no_worker_error, request
from natscribe.client.permissions import Connection
from natscribe.client.submission import build_message
from natscribe.jetstream.dead_letters import dead_letter_pages
from natscribe.jetstream.stream_pages import pages
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.erased import Erased
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.voices import Voice, VoicePage, VoicesRequest
from natscribe.schemas.workers import WorkerInfo, WorkersRequest
from natscribe.settings import Settings

REPLIES_WITHIN_S = 1.5  # a worker checks its servers for a second
NO_DEAD_LETTERS = "NATS has no dead letters to show, because"


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


async def erased(connection: Nats, settings: Settings) -> AsyncIterator[Erased]:
    """Yield all stored events that data of tasks were erased, the oldest first.

    Raises:
        NoWorkerError: The stream cannot be read; usually no worker has created it yet.
    """
    try:
        async for page in pages(connection, settings.stream_names.erased, subjects.erased("*")):
            for stored in page:
                yield Erased.model_validate_json(stored.data or b"")
    except nats.errors.Error as error:
        message = "NATS has no events of erased tasks to show, because"
        raise no_worker_error(message) from error


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
        what = "NATS does not answer"
        raise UnreachableError(what, "try again in a moment") from error
    if not replies:
        what = "No worker replied in time"
        raise UnreachableError(what, "try again in a moment")
    infos: list[WorkerInfo] = []
    for reply in replies:
        with suppress(ValueError):  # a worker of another version
            infos.append(WorkerInfo.model_validate_json(reply.data))
    if not infos:
        raise ClientError(*INCOMPATIBLE)
    return sorted(infos, key=lambda info: info.worker)
