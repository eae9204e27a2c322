"""Reads batches of messages from a stream by JetStream's Direct Get, which nats-py does not offer.

Any replica of the stream may reply, even one that lags behind the leader. So use this only to display messages, or
before an append that JetStream refuses if the read was out of date. For decisions, use `leader_reads`.
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

DIRECT_GET_TIMEOUT_S = 1.5  # a frozen server may have received the request: the next request may reach another server
MAX_REQUESTS = 4
PAGE_SIZE = 200  # messages that are read in one batch
MAX_REPLY_BYTES = 4 * 1024**2  # of a batch; a larger max_payload is the limit instead
ENVELOPE_BYTES = 8 * 1024  # room for the subject and headers that the server adds to a message
PENDING = "Nats-Num-Pending"  # header: number of messages of the subject after this one

_TIME: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)  # before Python 3.11, datetime reads no nanoseconds
NO_MORE = {"204", "404"}  # status codes: no further message
NO_RESPONDERS = "503"  # status code: JetStream is unavailable, or the stream or consumer does not exist

Messages = list[RawStreamMsg]


async def page(nats: Client, stream: str, subject: str, *, start: int, count: int) -> Messages:
    """Read one batch: return up to `count` messages on a subject, from the stream sequence `start` (inclusive) on.

    Raises:
        NatsError: NATS does not reply.
    """
    query = {"seq": start, "next_by_subj": subject, "batch": count, "max_bytes": max_batch_bytes(nats)}
    return await _read(nats, stream, query)


async def pages(nats: Client, stream: str, subject: str, *, after: int = 0) -> AsyncIterator[Messages]:
    """Yield all messages on a subject after the stream sequence `after`, in lists of up to PAGE_SIZE.

    If the replica that replies lags behind the leader, the last messages are read from the leader. So no message is
    missing, but a message that was deleted a moment ago may be included.

    Raises:
        NatsError: NATS does not reply.
    """
    while True:
        messages = await page(nats, stream, subject, start=after + 1, count=PAGE_SIZE)
        if not messages:
            message = await leader_reads.next_from(nats, stream, subject, after + 1)
            if message is None:
                return
            messages = [message]
        yield messages
        after = messages[-1].seq or after + 1


def max_batch_bytes(nats: Client) -> int:
    """Return how many bytes the reply to one batch request may have: enough for the largest message of this server."""
    return max(MAX_REPLY_BYTES, nats.max_payload + ENVELOPE_BYTES)


async def last_per_subject(nats: Client, stream: str, subjects: Iterable[str]) -> Messages:
    """Return the last message on each of these subjects; subjects without messages are left out.

    Raises:
        NatsError: NATS does not reply.
    """
    multi_last = list(subjects)
    if not multi_last:
        return []
    return await _read(nats, stream, {"multi_last": multi_last, "max_bytes": max_batch_bytes(nats)})


async def _read(nats: Client, stream: str, query: dict[str, object]) -> Messages:
    for _ in range(MAX_REQUESTS - 1):
        with suppress(NatsTimeoutError):
            return await _request(nats, stream, query)
    return await _request(nats, stream, query)


async def _request(nats: Client, stream: str, query: dict[str, object]) -> Messages:
    replies = asyncio.Queue[Msg]()
    messages: Messages = []
    inbox = await nats.subscribe(nats.new_inbox(), cb=replies.put)
    try:
        await nats.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(query).encode(), reply=inbox.subject)
        while not _is_end(reply := await _next(replies)):
            messages.append(_message(reply))
    finally:
        await inbox.unsubscribe()
    return messages


async def _next(replies: "asyncio.Queue[Msg]") -> Msg:
    """Return the next reply of a batch, without yielding to the event loop if the reply has already arrived.

    Raises:
        NatsTimeoutError: No reply has arrived for DIRECT_GET_TIMEOUT_S.
    """
    if not replies.empty():
        return replies.get_nowait()
    try:
        return await asyncio.wait_for(replies.get(), DIRECT_GET_TIMEOUT_S)
    except asyncio.TimeoutError as error:
        raise NatsTimeoutError from error


def _is_end(reply: Msg) -> bool:
    """Whether a reply marks the end of the batch; otherwise, it is a message, even if it has a header `Status`.

    Raises:
        NatsError: The reply is neither a message nor a normal end of the batch, so messages may be missing.
    """
    headers = reply.headers or {}
    if "Nats-Sequence" in headers:
        return False
    if headers.get("Status") == NO_RESPONDERS:
        raise NoRespondersError
    if headers.get("Status") not in NO_MORE:
        message = f"the stream answers with status {headers.get('Status')}"
        raise NatsError(message)
    return True


def _message(reply: Msg) -> RawStreamMsg:
    headers = reply.headers or {}
    time = _TIME.validate_python(headers["Nats-Time-Stamp"])
    return RawStreamMsg(headers["Nats-Subject"], int(headers["Nats-Sequence"]), reply.data, headers=headers, time=time)
