"""Logs in a stream, each on one subject: appends records by compare-and-set, and reads them.

A record is a message that the service has appended; other messages on the subject are ignored. A record that this
version of the service cannot read raises UnreadableError.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from nats.js.api import PubAck, RawStreamMsg
from nats.js.errors import APIError, BadRequestError
from natscribe.jetstream import leader_reads, stream_pages
from natscribe.jetstream.repeated_requests import OUTAGE_ERRORS, REQUEST_TIMEOUT_S, is_repeatable
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import FencedError, TransientError
from app.storage.jetstream.records import UnreadableError, is_record, read_record

GIVE_UP_AFTER_S: Final = 60.0  # how long JetStream may leave requests without a reply while the connection is open
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 2.0  # an unfinished append of three replicas is finished in milliseconds
DEPOSED_PAUSE_S: Final = 0.1  # enough for a server to learn that it is no longer the leader
EXPECTED_SEQUENCE: Final = "Nats-Expected-Last-Subject-Sequence"
EXPECTED_SUBJECT: Final = "Nats-Expected-Last-Subject-Sequence-Subject"
WRONG_LAST_SEQUENCE: Final = 10071  # err_code of nats-server: the expected last sequence is not the last one
T = TypeVar("T")
Reply = TypeVar("Reply")


class StreamLog(Generic[T]):
    """The logs in one stream, each on one subject: appends records, i.e. messages of the service, and reads them."""

    def __init__(self, nats: Client, publisher: LogicPublisher, stream: str, read: Callable[[RawStreamMsg], T]) -> None:
        """Create a reader and writer of the logs in `stream`.

        `publisher`: publishes the records. `read`: parses a message to a record; raises ValueError or LookupError if
        it cannot.
        """
        self._nats = nats
        self._publisher = publisher
        self._js = nats.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._stream = stream
        self._read = read

    async def last(self, subject: str) -> T | None:
        """Return the last record of the log on `subject`; None if the log is empty.

        Raises:
            UnreadableError: Another version of the service has written the record.
            TransientError: JetStream has not answered for GIVE_UP_AFTER_S.
        """
        message = await self._request(subject, partial(leader_reads.last_message, self._nats, self._stream, subject))
        return None if message is None else await self._last_record(message, subject)

    async def last_of(self, subjects: Iterable[str]) -> list[T]:
        """Return the last record of each log on `subjects`.

        Omitted are empty logs, records that this version cannot read, and records beyond the size of one reply of NATS.

        Raises:
            NatsError: NATS does not answer.
        """
        records: list[T] = []
        for message in await stream_pages.last_per_subject(self._nats, self._stream, subjects):
            with suppress(UnreadableError):
                records += [record] if (record := await self._last_record(message, message.subject or "")) else []
        return records

    async def records(self, subject: str) -> AsyncIterator[T]:
        """Yield all records of the log on `subject`, in order.

        Raises:
            UnreadableError: Another version of the service has written a record.
            TransientError: JetStream has not answered for GIVE_UP_AFTER_S.
        """
        async for message in self._messages(subject):
            record = read_record(self._read, message)
            if record is not None:
                yield record

    async def append(
        self, subject: str, payload: bytes, headers: dict[str, str], *, after: int, among: str | None = None
    ) -> int:
        """Append a record to the log on `subject`, and return its stream sequence.

        `headers`: must include `ce-id`, by which the record is recognized after a lost acknowledgement. `after`: the
        stream sequence of the log's last record; 0: the log is empty. `among`: a wildcard for several subjects; None:
        only `subject`. A record after `after` on any of these subjects prevents the append.

        Raises:
            FencedError: Another writer has appended a record after the sequence `after`.
            TransientError: JetStream has not answered for GIVE_UP_AFTER_S.
        """
        scope, event_id = among or subject, headers["ce-id"]
        condition = {EXPECTED_SUBJECT: among} if among else {}
        while True:
            expected = headers | condition | {EXPECTED_SEQUENCE: str(after)}
            publish = partial(self._publish, subjects.append_to(subject), payload, expected)
            try:
                sequence = (await self._request(subject, publish)).seq
            except BadRequestError as error:
                if error.err_code != WRONG_LAST_SEQUENCE:
                    raise
            else:
                return sequence if after else await self._confirm_first(subject, scope, sequence, event_id)
            is_stored, last = await self._search(subject, scope, event_id, after=after)
            if is_stored:
                return last  # an earlier request has stored the record, and its acknowledgement was lost
            if last == after:
                await self._check_removed(scope, after)
            after = last  # messages that are no records do not fence a writer

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> PubAck:
        return await self._publisher.publish(payload, subject, headers, stream=self._stream)

    async def _confirm_first(self, subject: str, scope: str, sequence: int, event_id: str) -> int:
        """Wait until the first record of a log is stored under the log's own subject, and return its stream sequence.

        A stream that has lost its subject transform acknowledges the first append to a log, but stores the record under
        another subject, as a stray: see `strays.py`. Such a stream refuses all later appends, so they need no such
        check.

        `sequence`: the stream sequence in the acknowledgement of the append. `scope`, `event_id`: see `_search`.

        Raises:
            FencedError: Another writer has started the log, or the record was removed.
            TransientError: JetStream has not answered for GIVE_UP_AFTER_S.
        """
        read = partial(leader_reads.message_at, self._nats, self._stream)
        while await self._request(subject, partial(read, subject, sequence)) is None:
            stray = await self._request(subject, partial(read, subjects.append_to(subject), sequence))
            is_stored, stored_at = await self._search(subject, scope, event_id)
            if is_stored:
                return stored_at
            if stray is None:
                raise FencedError(subject)
            await asyncio.sleep(DEPOSED_PAUSE_S)
        return sequence

    async def _search(self, subject: str, scope: str, event_id: str, *, after: int = 0) -> tuple[bool, int]:
        """Search the messages of `scope` after the sequence `after` for the record with the CloudEvents id `event_id`.

        If the record is stored, return True and its stream sequence. Otherwise return False and the stream sequence of
        the last message, or `after` if there is none. Messages of clients, which are no records, are skipped. `scope`:
        a subject or a wildcard.

        Raises:
            FencedError: The first record after `after` has another id, so another writer has appended it.
            TransientError: JetStream has not answered for GIVE_UP_AFTER_S.
        """
        last = after
        async for message in self._messages(scope, after=after):
            last = message.seq or last
            if (message.headers or {}).get("ce-id") == event_id:
                return True, last
            if is_record(message):
                raise FencedError(subject)
        return False, last

    async def _check_removed(self, subject: str, after: int) -> None:
        """Raise an error if the record with the sequence `after` was removed from the subject; otherwise pause.

        The caller has found no message after `after`, but JetStream has refused to append a record there. If the record
        was not removed, a former leader of the stream, which lacks later messages, has answered the search. After the
        pause, the caller repeats the append.

        Raises:
            FencedError: The record was removed.
            TransientError: JetStream has not answered for GIVE_UP_AFTER_S.
        """
        last = await self._request(subject, partial(leader_reads.last_message, self._nats, self._stream, subject))
        if last is None or last.seq != after:
            raise FencedError(subject)
        await asyncio.sleep(DEPOSED_PAUSE_S)

    async def purge(self, subject: str, *, up_to: int | None = None) -> None:
        """Delete the messages on a subject, up to and including the stream sequence `up_to`; None: all messages."""
        await self._js.purge_stream(self._stream, subject=subject, seq=None if up_to is None else up_to + 1)

    async def _last_record(self, last: RawStreamMsg, subject: str) -> T | None:
        """Return the last record of the log on `subject`; None if the log has no record.

        `last`: the last message on `subject`. If a client has stored it, it is no record; then read the whole log.
        """
        record = read_record(self._read, last)
        if record is None:
            async for earlier in self.records(subject):
                record = earlier
        return record

    async def _messages(self, subject: str, *, after: int = 0) -> AsyncIterator[RawStreamMsg]:
        read = partial(leader_reads.next_from, self._nats, self._stream, subject)
        while (message := await self._request(subject, partial(read, after + 1))) is not None:
            yield message
            after = message.seq or after + 1

    async def _request(self, subject: str, request: Callable[[], Awaitable[Reply]]) -> Reply:
        """Repeat a request until JetStream replies; while the connection is lost, wait without a limit.

        So an outage of NATS costs a task none of its attempts.

        Raises:
            TransientError: JetStream has not answered for GIVE_UP_AFTER_S although the connection is open.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + GIVE_UP_AFTER_S
        pause = FIRST_PAUSE_S
        while True:
            try:
                return await request()
            except (APIError, *OUTAGE_ERRORS) as error:
                if not is_repeatable(error):
                    raise
                if not self._nats.is_connected:
                    deadline = loop.time() + GIVE_UP_AFTER_S
                if loop.time() > deadline:
                    message = f"JetStream does not answer about {subject}: check the NATS server."
                    raise TransientError(ErrorCode.INTERNAL, message) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
