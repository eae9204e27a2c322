"""Sends requests to the service and parses the replies, and publishes tasks."""

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
from natscribe.schemas.channels import CHANNELS
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.kinds import Task
from natscribe.schemas.requests import REPLY_TIMEOUT_S, ResultFormat, ResultRequest
from natscribe.schemas.wire import Input

INCOMPATIBLE = "The service's reply does not fit this version of the contract", "update the older side"
NO_REPLY, NO_QUEUE = "NATS answers, but", "NATS has no queue for tasks, because"
PUBLISH_ATTEMPTS = 5  # of a task whose publish is not acknowledged
RESEND_AFTER_S = 2.0  # the worker that received the request may be frozen: a copy may reach another worker
REPEATABLE = {channel.subject for channel in CHANNELS if channel.repeatable}
MAX_COPIES = 3
MAX_COPIES_FOR_TEXT = 2  # a worker formats results one after the other, even for requests that timed out
ELECTION_S = 2.0  # after this pause a cluster may have elected the next leader of the task stream

Reply = TypeVar("Reply", bound=BaseModel)
T = TypeVar("T")


class _ErrorReply(BaseModel):
    """The reply to a request that failed: `error` is its only field.

    Other replies, e.g. the status of a failed task, have a field `error` among other fields.
    """

    model_config = ConfigDict(extra="forbid", defer_build=True)
    error: ErrorDetail


async def request(connection: Nats, subject: str, message: Input, reply_type: type[Reply]) -> Reply:
    """Send a request, and return the reply as an object of the type `reply_type`.

    Raises:
        UnreachableError, RequestFailedError: As for `request_message`.
        ClientError: The reply does not have this type.
    """
    return parse_reply(TypeAdapter(reply_type), (await request_message(connection, subject, message)).data)


def parse_reply(reply_type: TypeAdapter[T], body: bytes) -> T:
    """Parse the body of a reply as an object of the type `reply_type`.

    Raises:
        ClientError: The reply does not have this type, because the service has an incompatible version.
    """
    try:
        return reply_type.validate_json(body, extra="ignore")  # a later version may have added fields
    except ValidationError as error:
        raise ClientError(*INCOMPATIBLE) from error


async def request_message(connection: Nats, subject: str, message: Input) -> Msg:
    """Send a request, and return the reply as a NATS message.

    A request on a subject in REPEATABLE is sent again if no reply arrives within RESEND_AFTER_S seconds.

    Raises:
        UnreachableError: The service does not reply.
        RequestFailedError: The service replies with an error.
    """
    is_text = isinstance(message, ResultRequest) and message.format is not ResultFormat.JSON
    copies = 1 if subject not in REPEATABLE else MAX_COPIES_FOR_TEXT if is_text else MAX_COPIES
    try:
        return await _first_reply(connection, subject, message.model_dump_json().encode(), copies)
    except nats.errors.NoRespondersError as error:
        raise no_worker_error(NO_REPLY) from error
    except nats.errors.Error as error:
        what = f"The service did not reply in {REPLY_TIMEOUT_S:g} s"
        raise UnreachableError(what, f"try again in a moment, or run `{command()} doctor`") from error


async def _first_reply(connection: Nats, subject: str, body: bytes, copies: int) -> Msg:
    """Send up to `copies` copies of a request, one every RESEND_AFTER_S seconds, and return the first reply.

    After a failure of one copy, no further copy is sent.

    Raises:
        RequestFailedError: The service refuses the request, or has failed to process it.
        NatsError: No reply has arrived within REPLY_TIMEOUT_S seconds, or NATS has reported another error.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + REPLY_TIMEOUT_S
    failure: BaseException | None = None
    pending: set[asyncio.Task[Msg]] = set()
    try:
        while (left := deadline - loop.time()) > 0 and (copies or pending):
            if copies:
                copies -= 1
                pending.add(asyncio.ensure_future(_reply(connection, subject, body, left)))
            timeout = min(RESEND_AFTER_S, left) if copies else left
            done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if _is_conclusive(error := task.exception()):
                    return task.result()
                failure, copies = failure or error, 0
        raise failure or nats.errors.TimeoutError
    finally:
        for task in pending:
            task.cancel()


async def _reply(connection: Nats, subject: str, body: bytes, timeout_s: float) -> Msg:
    reply = await connection.request(subject, body, timeout=timeout_s)
    if (detail := _error_in(reply)) is not None:
        raise RequestFailedError(detail)
    return reply


def _is_conclusive(error: BaseException | None) -> bool:
    """Return whether the outcome of one copy of a request is final, so that replies to other copies are not awaited.

    It is final if a worker has replied with a result or refused the request. It is not final after an outage or an
    internal error of a worker, because another worker may process another copy. `error`: the error with which the copy
    failed; None: it received a reply.
    """
    return error is None or (isinstance(error, RequestFailedError) and error.code is not ErrorCode.INTERNAL)


async def publish_task(connection: Nats, subject: str, task: Task, *, seconds: float | None = None) -> bool:
    """Publish a task; return True if JetStream stored it, False if JetStream dropped it as a duplicate.

    If JetStream does not acknowledge the task, the task is published again, but stored only once. `seconds`: the
    duration of the recording; None if unknown. The trace span of the publish becomes the parent of the service's spans.

    Raises:
        UnreachableError: NATS does not acknowledge the task.
        NoWorkerError: No stream stores tasks yet: no worker has run with this NATS.
        QueueFullError: The task queue is full.
        StorageFullError: NATS has no room for the task.
    """
    headers = {"Nats-Msg-Id": task.task_id, "content-type": "application/json"}
    if seconds is not None:
        headers[AUDIO_SECONDS] = f"{seconds:.1f}"
    with publishing(subject, headers):
        return await _publish(connection, subject, task, headers)


async def _publish(connection: Nats, subject: str, task: Task, headers: dict[str, str]) -> bool:
    js, body = connection.jetstream(), task.model_dump_json().encode()
    for attempt in range(PUBLISH_ATTEMPTS):
        try:
            stored = await js.publish(subject, body, REPLY_TIMEOUT_S, headers=headers)
        except nats.errors.TimeoutError:
            continue
        except NoStreamResponseError as error:
            if not await _has_stream(js, subject):
                raise no_worker_error(NO_QUEUE) from error
            await asyncio.sleep(ELECTION_S)
        except APIError as error:
            raise _refused(subject, error) from error
        else:
            # If a repeated publish is a duplicate, the first one has stored the task; its acknowledgement was lost.
            return not stored.duplicate or attempt > 0
    what = f"NATS did not acknowledge task {task.task_id}"
    next_step = (
        "submit it again with this id, which is safe. If this persists, "
        "the disk of NATS may be or have been full; the operator then has to make room and restart NATS "
        "(runbook: StorageAlmostFull)"
    )
    raise UnreachableError(what, next_step)


async def _has_stream(js: JetStreamContext, subject: str) -> bool:
    """Whether a stream stores messages on a subject; True if NATS does not reply."""
    try:
        await js.find_stream_name_by_subject(subject)
    except nats.errors.Error as error:
        return not isinstance(error, NotFoundError)
    return True


def no_worker_error(observation: str) -> NoWorkerError:
    """Return the error for a missing worker: its message begins with `observation`, and says how to start a worker."""
    how = f"start one with `{command()} up` or `faststream run app.main:app`, or wait if one is just starting"
    return NoWorkerError(f"{observation} no worker of the service runs there", how)


def is_json(reply: Msg) -> bool:
    """Whether a reply contains JSON, as opposed to a result in another file format."""
    return ((reply.headers or {}).get("content-type") or JSON).startswith(JSON)


def _refused(subject: str, error: APIError) -> ClientError:
    if error.err_code == QUEUE_FULL:
        return QueueFullError(
            f"The task queue {subject} is full", "wait until tasks are done, or choose another priority"
        )
    if error.err_code in STORAGE_FULL:
        return StorageFullError("NATS has no room for the task")
    return ClientError(f"NATS refuses the task ({error.description})", "see the log of the server")


def _error_in(reply: Msg) -> ErrorDetail | None:
    if not is_json(reply):
        return None
    try:
        return _ErrorReply.model_validate_json(reply.data).error
    except ValidationError:
        return None
