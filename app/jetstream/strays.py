"""Strays: messages that a stream has stored on their append subjects, because it had lost its subject transform.

JetStream has acknowledged them, but nobody finds them there. So they are appended again once the stream has its
transform back, under the condition of their first append: a log that has gone on meanwhile refuses them.
"""

from collections.abc import AsyncIterator
from typing import Final

import structlog
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError
from natscribe.jetstream.error_codes import NO_MESSAGE
from natscribe.schemas import subjects

from app.jetstream.stream_log import EXPECTED_SEQUENCE, WRONG_LAST_SEQUENCE

ALL_STRAYS: Final = subjects.append_to(">")

log = structlog.get_logger()


async def append_strays(js: JetStreamContext, stream: StreamConfig) -> None:
    """Append all strays of a stream again, in their order, and remove them.

    Several workers may do this at once: the message id of a stray lets JetStream store it once.

    Raises:
        NatsError: NATS does not answer; the next call goes on.
    """
    name, count = str(stream.name), 0
    last = dict[str, int]()  # by subject: the sequence under which its last stray is stored now
    async for stray in _strays(js, name):
        subject, headers = stray.subject or "", dict(stray.headers or {})
        headers["Nats-Msg-Id"] = f"stray-{headers.get('ce-id')}"
        if EXPECTED_SEQUENCE in headers:
            headers[EXPECTED_SEQUENCE] = str(last.get(subject, 0))
        count += 1
        try:
            last[subject] = (await js.publish(subject, stray.data or b"", stream=name, headers=headers)).seq
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
        if stream.deny_purge:
            await _delete(js, name, stray.seq or 0)
    if count:
        if not stream.deny_purge:
            await js.purge_stream(name, subject=ALL_STRAYS)
        log.warning("strays_appended", of=name, count=count)


async def _delete(js: JetStreamContext, stream: str, sequence: int) -> None:
    try:
        await js.delete_msg(stream, sequence)
    except APIError as error:
        if error.err_code != NO_MESSAGE:  # else another worker has deleted the stray
            raise


async def _strays(js: JetStreamContext, stream: str) -> AsyncIterator[RawStreamMsg]:
    after = 0
    while True:
        try:
            stray = await js.get_msg(stream, after + 1, ALL_STRAYS, next=True)
        except NotFoundError as error:
            if error.err_code != NO_MESSAGE:
                raise
            return
        yield stray
        after = stray.seq or after + 1
