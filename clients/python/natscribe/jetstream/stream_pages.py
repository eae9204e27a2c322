"""Read batches of messages from a stream by JetStream's Direct Get, which nats-py does not offer.

Any server with a replica of the stream may answer, even one that is behind the leader. So use this only to show, or
before an append, which JetStream refuses if the read was out of date. For all that decides, use `leader_reads`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from datetime import datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RawStreamMsg
from pydantic import AwareDatetime, TypeAdapter

from natscribe.jetstream import leader_reads

DIRECT_GET_TIMEOUT_S = 1.5  # a server that is frozen may have received the request: the next request may reach another
MAX_REQUESTS = 4
PAGE_SIZE = 200  # messages that are read in one batch
MAX_REPLY_BYTES = 4 * 1024**2  # limit of an answer, a batch of messages; a larger max_payload is the limit instead
ENVELOPE_BYTES = 8 * 1024  # room for the subject and headers that the server adds to a message
PENDING = "Nats-Num-Pending"  # header: how many messages of the subject follow this message

_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)  # before Python 3.11, datetime reads no nanoseconds
NO_MORE = {"204", "404"}  # status codes: no further message
NO_RESPONDERS = "503"  # status code: JetStream is away, or the stream or consumer does not exist

Pages = list[RawStreamMsg]


async def page(nats: Client, stream: str, subject: str, *, start: int, count: int) -> Pages:
    """Return at most `count` messages of a subject, from stream sequence `start` on; [] if there is none.

    Raises:
        NatsError: NATS does not answer.
    """
    query = {"seq": start, "next_by_subj": subject, "batch": count, "max_bytes": max_batch_bytes(nats)}
    return await _answer(nats, stream, query)


async def pages(nats: Client, stream: str, subject: str, *, after: int = 0) -> AsyncIterator[Pages]:
    """Yield all messages of a subject after stream sequence `after`, up to PAGE_SIZE at a time.

    If the server that answers is behind the leader, the leader is asked for the last messages. So none is missing, but
    one that was deleted a moment ago may be among them.

    Raises:
        NatsError: NATS does not answer.
    """
    at = after
    while True:
        found = await page(nats, stream, subject, start=at + 1, count=PAGE_SIZE)
        if not found:
            next_one = await leader_reads.next_from(nats, stream, subject, at + 1)
            if next_one is None:
                return
            found = [next_one]
        yield found
        at = found[-1].seq or at + 1


def max_batch_bytes(nats: Client) -> int:
    """Return how many bytes one request may get: always enough for a message of the largest allowed size."""
    return max(MAX_REPLY_BYTES, nats.max_payload + ENVELOPE_BYTES)


async def last_per_subject(nats: Client, stream: str, subjects: Iterable[str]) -> Pages:
    """Return the last message of each subject that has one.

    Raises:
        NatsError: NATS does not answer.
    """
    wanted = list(subjects)
    if not wanted:
        return []
    query = {"multi_last": wanted, "max_bytes": max_batch_bytes(nats)}
    return await _answer(nats, stream, query)


async def _answer(nats: Client, stream: str, query: dict[str, object]) -> Pages:
    for _ in range(MAX_REQUESTS - 1):
        with suppress(NatsTimeoutError):
            return [message async for message in _answers(nats, stream, query)]
    return [message async for message in _answers(nats, stream, query)]


async def _answers(nats: Client, stream: str, query: dict[str, object]) -> AsyncIterator[RawStreamMsg]:
    answers = asyncio.Queue[Msg]()
    inbox = await nats.subscribe(nats.new_inbox(), cb=answers.put)
    try:
        await nats.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), reply=inbox.subject)
        while not _is_end(answer := await _next(answers)):
            yield _message(answer)
    finally:
        await inbox.unsubscribe()


async def _next(answers: "asyncio.Queue[Msg]") -> Msg:
    """Return the next answer; if one has come already, do not wait for the event loop, which may be busy.

    Raises:
        NatsTimeoutError: No answer has come for DIRECT_GET_TIMEOUT_S.
    """
    if not answers.empty():
        return answers.get_nowait()
    try:
        return await asyncio.wait_for(answers.get(), DIRECT_GET_TIMEOUT_S)
    except asyncio.TimeoutError as error:
        raise NatsTimeoutError from error


def _is_end(answer: Msg) -> bool:
    """Return whether an answer ends the batch; a stored message does not, even with a header `Status` of its publisher.

    Raises:
        NatsError: The answer is neither a message nor a normal end. Treating it as an end would hide messages.
    """
    headers = answer.headers or {}
    if "Nats-Sequence" in headers:
        return False
    if headers.get("Status") == NO_RESPONDERS:
        raise NoRespondersError
    if headers.get("Status") not in NO_MORE:
        message = f"the stream answers with status {headers.get('Status')}"
        raise NatsError(message)
    return True


def _message(answer: Msg) -> RawStreamMsg:
    headers = answer.headers or {}
    time = _TIME.validate_python(headers["Nats-Time-Stamp"])
    return RawStreamMsg(headers["Nats-Subject"], int(headers["Nats-Sequence"]), answer.data, headers=headers, time=time)
