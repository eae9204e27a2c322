"""A log on a subject: records are appended by compare-and-set, and messages of others are left out."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from nats.aio.client import Client
from nats.errors import ConnectionReconnectingError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RawStreamMsg
from nats.js.errors import BadRequestError, NoStreamResponseError, ServerError, ServiceUnavailableError

from app.errors import FencedError, TransientError
from app.jetstream import stream_pages
from schemas import subjects
from schemas.errors import ErrorCode

GIVE_UP_AFTER_S: Final = 60.0  # without an answer
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
EXPECTED_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
WRONG_LAST_SEQUENCE: Final = 10071  # err_code of nats-server: somebody else has appended
APPENDING: Final = 10164  # err_code of a cluster's leader: somebody else is appending at this moment

T = TypeVar("T")
Answer = TypeVar("Answer")

UNANSWERED = (  # errors of an outage: NATS answers again later
    NatsTimeoutError,
    NoStreamResponseError,
    NoRespondersError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
    ServiceUnavailableError,
    ServerError,
)


class StreamLog(Generic[T]):
    """The logs of one stream, a subject each; `read` raises ValueError for what the service did not write."""

    def __init__(self, nats: Client, stream: str, read: Callable[[RawStreamMsg], T]) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._stream = stream
        self._read = read

    async def last(self, subject: str) -> T | None:
        """The last record, None where there is none.

        Raises:
            TransientError: JetStream does not answer for long.
        """
        message = await self._insist(subject, partial(stream_pages.last, self._nats, self._stream, subject))
        return None if message is None else await self._own(message, subject)

    async def last_of(self, subjects: Iterable[str]) -> list[T]:
        """The last records of many logs: of those that have any, and are small enough for one answer.

        Raises:
            NatsError: NATS does not answer.
        """
        found = [
            await self._own(message, message.subject or "")
            for message in await stream_pages.last_of_each(self._nats, self._stream, subjects)
        ]
        return [record for record in found if record is not None]

    async def records(self, subject: str) -> AsyncIterator[T]:
        """All records, in order.

        Raises:
            TransientError: JetStream does not answer for long.
        """
        async for message in self._messages(subject):
            with suppress(ValueError):
                yield self._read(message)

    async def append(
        self, subject: str, payload: bytes, headers: dict[str, str], *, after: int, among: str | None = None
    ) -> int:
        """Append behind the record with stream sequence `after`, 0 for the first; return the new stream sequence.

        `among` is a wildcard that includes the subject: `after` is then the last record of all subjects in it.

        Raises:
            FencedError: Somebody else has appended a record since `after`.
            TransientError: JetStream does not answer for long.
        """
        where, of_subject = subjects.append_to(subject), {EXPECTED_SUBJECT: among} if among else {}
        while True:
            expected = headers | of_subject | {EXPECTED_SEQUENCE: str(after)}
            publish = partial(self._js.publish, where, payload, stream=self._stream, headers=expected)
            try:
                return (await self._insist(subject, publish)).seq  # its `ce-id` makes a repetition harmless
            except BadRequestError as error:
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise
            behind = after
            async for message in self._messages(among or subject, after=after):
                behind = message.seq or behind
                if (message.headers or {}).get("ce-id") == headers["ce-id"]:
                    return behind  # this append was stored, and its acknowledgement was lost
                if self._is_record(message):
                    raise FencedError(subject)
            if behind == after:  # the record at `after` was removed
                raise FencedError(subject)
            after = behind  # messages that are no records fence nobody

    async def purge(self, subject: str, *, up_to: int | None = None) -> None:
        """Remove all messages of a subject, or those up to a stream sequence."""
        await self._js.purge_stream(self._stream, subject=subject, seq=None if up_to is None else up_to + 1)

    async def _own(self, last: RawStreamMsg, subject: str) -> T | None:
        """The last record of a subject whose last message is this one, which may be no record."""
        try:
            return self._read(last)
        except ValueError:
            found: T | None = None
            async for record in self.records(subject):
                found = record
            return found

    def _is_record(self, message: RawStreamMsg) -> bool:
        try:
            self._read(message)
        except ValueError:
            return False
        return True

    async def _messages(self, subject: str, *, after: int = 0) -> AsyncIterator[RawStreamMsg]:
        read = partial(stream_pages.next_from, self._nats, self._stream, subject)
        while (message := await self._insist(subject, partial(read, after + 1))) is not None:
            yield message
            after = message.seq or after + 1

    async def _insist(self, subject: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer; while the connection is lost, wait however long that takes.

        Thus no task loses an attempt because NATS was away.

        Raises:
            TransientError: The connection stands, and JetStream has not answered for GIVE_UP_AFTER_S.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + GIVE_UP_AFTER_S
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await ask()
            except (BadRequestError, *UNANSWERED) as error:
                if isinstance(error, BadRequestError) and error.err_code != APPENDING:
                    raise
                if not self._nats.is_connected:
                    give_up_at = loop.time() + GIVE_UP_AFTER_S
                if loop.time() > give_up_at:
                    message = f"JetStream does not answer about {subject}: check the NATS server."
                    raise TransientError(ErrorCode.INTERNAL, message) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
