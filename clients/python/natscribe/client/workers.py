"""Asks all workers for their versions, models and health."""

from contextlib import suppress

import nats.errors

from natscribe.client.errors import ClientError, UnreachableError
from natscribe.client.exchange import NO_REPLY_MESSAGE, OTHER_CONTRACT, no_worker_error
from natscribe.client.permissions import Connection
from natscribe.schemas import subjects
from natscribe.schemas.workers import WorkerInfo, WorkersRequest

REPLIES_WITHIN_S = 1.5  # a worker checks its servers for a second


async def workers(connection: Connection) -> list[WorkerInfo]:
    """Return what each worker tells of itself, sorted by name.

    Raises:
        NoWorkerError: No worker runs.
        UnreachableError: No worker replies in time.
        ClientError: The workers are of another version.
        NotAllowedError: The user may not ask.
    """
    body = WorkersRequest().model_dump_json().encode()
    try:
        replies = await connection.request_all(subjects.WORKERS, body, within=REPLIES_WITHIN_S)
    except nats.errors.NoRespondersError as error:
        raise no_worker_error(NO_REPLY_MESSAGE) from error
    except nats.errors.Error as error:
        message = "NATS does not answer: ask again in a moment."
        raise UnreachableError(message) from error
    if not replies:
        message = "No worker replied in time: ask again in a moment."
        raise UnreachableError(message)
    found: list[WorkerInfo] = []
    for reply in replies:
        with suppress(ValueError):  # a worker of another version
            found.append(WorkerInfo.model_validate_json(reply.data))
    if not found:
        raise ClientError(OTHER_CONTRACT)
    return sorted(found, key=lambda worker: worker.worker)
