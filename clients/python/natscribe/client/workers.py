"""Requests the versions, models and health of all workers."""

from contextlib import suppress

import nats.errors

from natscribe.client.errors import ClientError, UnreachableError
from natscribe.client.exchange import INCOMPATIBLE, NO_REPLY, no_worker_error
from natscribe.client.permissions import Connection
from natscribe.schemas import subjects
from natscribe.schemas.workers import WorkerInfo, WorkersRequest

REPLIES_WITHIN_S = 1.5  # a worker checks its servers for a second


async def workers(connection: Connection) -> list[WorkerInfo]:
    """Return what each worker reports, sorted by name.

    Raises:
        NoWorkerError: No worker runs.
        UnreachableError: No worker replies in time.
        ClientError: The workers are of another version.
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
