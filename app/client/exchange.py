"""One message there, one back."""

from typing import TypeVar

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.errors import APIError, NoStreamResponseError
from opentelemetry import trace
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from app.client.command import command
from app.client.connection import PATIENCE
from app.client.errors import ClientError, NoWorkerError, QueueFullError, RequestFailedError, UnreachableError
from app.jetstream.streams import QUEUE_FULL
from schemas.diarization import DiarizationTask
from schemas.errors import ErrorDetail
from schemas.headers import AUDIO_SECONDS
from schemas.transcription import TranscriptionTask
from schemas.wire import Order

NO_ANSWER, NO_QUEUE = "NATS answers, but", "NATS has no queue for tasks, because"
_TRIES = 3
_PROPAGATOR = TraceContextTextMapPropagator()

Answer = TypeVar("Answer", bound=BaseModel)
T = TypeVar("T")


class _Refusal(BaseModel):
    """An error reply and nothing else: a status, too, has a field `error`."""

    model_config = ConfigDict(extra="forbid")
    error: ErrorDetail


async def ask(connection: Nats, subject: str, order: Order, answer: type[Answer]) -> Answer:
    """Send a request and return the answer (UnreachableError, RequestFailedError)."""
    return read(TypeAdapter(answer), (await request(connection, subject, order)).data)


def read(answer: TypeAdapter[T], body: bytes) -> T:
    """Read what the service says (ClientError)."""
    try:
        return answer.validate_json(body)
    except ValidationError as error:
        message = "The service's answer is not of this version of the contract: update the older side."
        raise ClientError(message) from error


async def request(connection: Nats, subject: str, order: Order) -> Msg:
    """Send a request and return the reply as it is (UnreachableError, RequestFailedError)."""
    try:
        reply = await connection.request(subject, order.model_dump_json().encode(), timeout=PATIENCE)
    except nats.errors.NoRespondersError as error:
        raise no_worker(NO_ANSWER) from error
    except nats.errors.Error as error:
        message = f"The service did not answer within {PATIENCE:.0f} s: ask again in a moment."
        raise UnreachableError(message) from error
    if (detail := _refusal(reply)) is not None:
        raise RequestFailedError(detail)
    return reply


async def publish_task(
    connection: Nats, subject: str, task: TranscriptionTask | DiarizationTask, *, seconds: float | None = None
) -> bool:
    """Queue a task; whether JetStream stored it, and not one with the same id within the last two minutes.

    `seconds` is the recording's length, where known. Sent again where no acknowledgement comes, it is stored once.
    The span of the publish is the parent of all that the service does. Raises UnreachableError, QueueFullError.
    """
    headers = {"Nats-Msg-Id": task.task_id, "content-type": "application/json"}
    if seconds is not None:
        headers[AUDIO_SECONDS] = f"{seconds:.1f}"
    with trace.get_tracer("natscribe").start_as_current_span(f"{subject} publish", kind=SpanKind.PRODUCER):
        _PROPAGATOR.inject(headers)
        return await _publish(connection, subject, task, headers)


async def _publish(
    connection: Nats, subject: str, task: TranscriptionTask | DiarizationTask, headers: dict[str, str]
) -> bool:
    body = task.model_dump_json().encode()
    for attempt in range(_TRIES):
        try:
            stored = await connection.jetstream().publish(subject, body, PATIENCE, headers=headers)
        except nats.errors.TimeoutError:
            continue
        except NoStreamResponseError as error:
            raise no_worker(NO_QUEUE) from error
        except APIError as error:
            raise _refused(subject, error) from error
        else:
            return not stored.duplicate or attempt > 0  # the duplicate is our own: only its acknowledgement was lost
    message = f"NATS did not acknowledge task {task.task_id}: publish it again under this id, that is safe."
    raise UnreachableError(message)


def no_worker(what_is_seen: str) -> NoWorkerError:
    """The error that says how to start one."""
    how = f"start one with `{command()} up` or `faststream run app.main:app`"
    return NoWorkerError(f"{what_is_seen} no worker of the service runs there: {how}.")


def is_text(reply: Msg) -> bool:
    """Whether a reply is plain text, not JSON."""
    return (reply.headers or {}).get("content-type") == "text/plain"


def _refused(subject: str, error: APIError) -> ClientError:
    if error.err_code == QUEUE_FULL:
        return QueueFullError(f"The queue {subject} is full: wait until tasks are done or choose another priority.")
    return ClientError(f"NATS refuses the task ({error.description}): see the server's log.")


def _refusal(reply: Msg) -> ErrorDetail | None:
    if is_text(reply):
        return None
    try:
        return _Refusal.model_validate_json(reply.data).error
    except ValidationError:
        return None
