"""Sends requests to the service, and publishes tasks."""

import asyncio
from typing import TypeVar

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from natscribe.client.command import command
from natscribe.client.errors import (
    ClientError,
    NoWorkerError,
    QueueFullError,
    RequestFailedError,
    StorageFullError,
    UnreachableError,
)
from natscribe.client.tracing import publishing
from natscribe.jetstream.cloud_events import JSON
from natscribe.jetstream.error_codes import QUEUE_FULL, STORAGE_FULL
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.kinds import Task
from natscribe.schemas.requests import REPLY_TIMEOUT_S, ResultFormat, ResultRequest
from natscribe.schemas.wire import Input

OTHER_CONTRACT = "The service's reply does not fit this version of the contract: update the older side."
NO_REPLY_MESSAGE, NO_QUEUE = "NATS answers, but", "NATS has no queue for tasks, because"
TRIES = 5  # how often a task without an acknowledgement is published
SENT_AGAIN_AFTER_S = 2.0  # a worker that is frozen may have got the request: the next one may reach another worker
REPEATABLE = {  # a copy does no harm, even if it is read late: a reply to any copy is the answer
    *(subjects.STATUS, subjects.RESULT, subjects.LIST, subjects.TASK_QUEUES, subjects.CANCEL, subjects.VOICES),
}
MOST_COPIES = 3
MOST_COPIES_OF_FILES = 2  # a worker writes results in formats one by one, even if the client no longer waits
ELECTION_S = 2.0  # after this pause the servers of a cluster may have elected the next leader of the task stream

Answer = TypeVar("Answer", bound=BaseModel)
T = TypeVar("T")


class _Refusal(BaseModel):
    """An error reply: `error` is its only field; a task status has a field `error`, too, beside other fields."""

    model_config = ConfigDict(extra="forbid", defer_build=True)
    error: ErrorDetail


async def ask(connection: Nats, subject: str, asked: Input, answer: type[Answer]) -> Answer:
    """Send a request and return the parsed reply.

    Raises:
        UnreachableError, RequestFailedError: As for `request`.
    """
    return read(TypeAdapter(answer), (await request(connection, subject, asked)).data)


def read(answer: TypeAdapter[T], body: bytes) -> T:
    """Parse a reply of the service.

    Raises:
        ClientError: The reply does not have this type.
    """
    try:
        return answer.validate_json(body, extra="ignore")  # a later version may have added fields
    except ValidationError as error:
        raise ClientError(OTHER_CONTRACT) from error


async def request(connection: Nats, subject: str, asked: Input) -> Msg:
    """Send a request and return the reply as a message; send it again, if its subject is REPEATABLE and no reply comes.

    Raises:
        UnreachableError: The service does not reply.
        RequestFailedError: The service replies with an error.
    """
    try:
        return await _first_answer(connection, subject, asked)
    except nats.errors.NoRespondersError as error:
        raise no_worker(NO_REPLY_MESSAGE) from error
    except nats.errors.Error as error:
        message = f"The service did not reply within {REPLY_TIMEOUT_S:.0f} s: ask again in a moment."
        raise UnreachableError(message) from error


async def _first_answer(connection: Nats, subject: str, asked: Input) -> Msg:
    """Return the first final answer to copies of a request; a failure stops new copies, and is raised if all fail."""
    loop, body = asyncio.get_running_loop(), asked.model_dump_json().encode()
    deadline = loop.time() + REPLY_TIMEOUT_S
    copies = _most_copies(subject, asked)
    failed: BaseException | None = None
    out: set[asyncio.Task[Msg]] = set()
    try:
        while (left := deadline - loop.time()) > 0 and (out or not failed):
            if copies:
                copies -= 1
                out.add(asyncio.ensure_future(_answer(connection, subject, body, left)))
            pause = min(SENT_AGAIN_AFTER_S, left) if copies else left
            done, out = await asyncio.wait(out, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                if _is_final(error := each.exception()):
                    return each.result()
                failed, copies = failed or error, 0
        raise failed or nats.errors.TimeoutError
    finally:
        for each in out:
            each.cancel()


def _most_copies(subject: str, asked: Input) -> int:
    if subject not in REPEATABLE:
        return 1
    needs_writer = isinstance(asked, ResultRequest) and asked.format is not ResultFormat.JSON
    return MOST_COPIES_OF_FILES if needs_writer else MOST_COPIES


async def _answer(connection: Nats, subject: str, body: bytes, within_s: float) -> Msg:
    reply = await connection.request(subject, body, timeout=within_s)
    if (detail := _refusal(reply)) is not None:
        raise RequestFailedError(detail)
    return reply


def _is_final(error: BaseException | None) -> bool:
    """Whether an answer counts at once: a reply (None) or a refusal; after other errors a copy may be answered."""
    return error is None or (isinstance(error, RequestFailedError) and error.code is not ErrorCode.INTERNAL)


async def publish_task(connection: Nats, subject: str, task: Task, *, seconds: float | None = None) -> bool:
    """Publish a task; return True if JetStream stored the task, False if JetStream dropped it as a duplicate.

    `seconds` is the length of the recording, if known. Without an acknowledgement the task is published again, and
    still stored once. The span of the publish is the parent of all spans of the service.

    Raises:
        UnreachableError: NATS does not acknowledge the task.
        QueueFullError: The task queue is full.
    """
    headers = {"Nats-Msg-Id": task.task_id, "content-type": "application/json"}
    if seconds is not None:
        headers[AUDIO_SECONDS] = f"{seconds:.1f}"
    with publishing(subject, headers):
        return await _publish(connection, subject, task, headers)


async def _publish(connection: Nats, subject: str, task: Task, headers: dict[str, str]) -> bool:
    js, body = connection.jetstream(), task.model_dump_json().encode()
    for attempt in range(TRIES):
        try:
            stored = await js.publish(subject, body, REPLY_TIMEOUT_S, headers=headers)
        except nats.errors.TimeoutError:
            continue
        except NoStreamResponseError as error:
            if not await _has_stream(js, subject):
                raise no_worker(NO_QUEUE) from error
            await asyncio.sleep(ELECTION_S)
        except APIError as error:
            raise _refused(subject, error) from error
        else:
            # If a repeated publish is a duplicate, the first one has stored the task; its acknowledgement was lost.
            return not stored.duplicate or attempt > 0
    message = (
        f"NATS did not acknowledge task {task.task_id}: publish it again with this id, which is safe. If this goes on, "
        "the disk of NATS may be or have been full; the operator then has to make room and restart NATS "
        "(runbook: StorageAlmostFull)."
    )
    raise UnreachableError(message)


async def _has_stream(js: JetStreamContext, subject: str) -> bool:
    """Whether a stream stores this subject; True if NATS cannot say now."""
    try:
        await js.find_stream_name_by_subject(subject)
    except NotFoundError:
        return False
    except nats.errors.Error:
        pass
    return True


def no_worker(what_was_seen: str) -> NoWorkerError:
    """Make the error for a missing worker; the error says how to start a worker, or that one may just be starting."""
    how = f"start one with `{command()} up` or `faststream run app.main:app`, or wait if one is just starting"
    return NoWorkerError(f"{what_was_seen} no worker of the service runs there: {how}.")


def is_json(reply: Msg) -> bool:
    """Whether a reply is JSON, and not a file."""
    return ((reply.headers or {}).get("content-type") or JSON).startswith(JSON)


def _refused(subject: str, error: APIError) -> ClientError:
    if error.err_code == QUEUE_FULL:
        return QueueFullError(
            f"The task queue {subject} is full: wait until tasks are done, or choose another priority."
        )
    if error.err_code in STORAGE_FULL:
        return StorageFullError("NATS has no room for the task")
    return ClientError(f"NATS refuses the task ({error.description}): see the log of the server.")


def _refusal(reply: Msg) -> ErrorDetail | None:
    if not is_json(reply):
        return None
    try:
        return _Refusal.model_validate_json(reply.data).error
    except ValidationError:
        return None
