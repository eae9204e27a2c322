"""Dead letters: what could not be done, stored once, and tried again when an operator asks."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from app.jetstream.stream_pages import A_PAGE, pages
from app.jetstream.streams import LANE_FULL
from app.log import cloud_events
from app.log.entry import Entry
from app.log.task_log import TaskLog
from app.queue.stored_message import StoredMessage
from app.telemetry.metrics import Meter
from handlers.errors import RequestError
from schemas import subjects
from schemas.dead_letters import BodyEncoding, DeadLetter
from schemas.errors import ErrorCode, ErrorDetail
from schemas.headers import REPLAY_OF, TRACEPARENT
from schemas.progress import State
from schemas.stream_names import StreamNames
from schemas.wire import Kind

LARGEST_GROWTH = 2  # control characters take six bytes each in JSON: such a body is better off as base64
MOST_HEADERS, LONGEST_HEADER = 32, 1024  # characters
ANSWER_WITHIN, OPENED_WITHIN = 3.5, 1.0  # seconds, one after the other: clients wait for five
LOOK_EVERY = 0.01  # seconds
EXPECTATIONS = "nats-expected"  # headers that were meant for the first publish only


class NoRoomError(RequestError):
    """There is no room for another task in its lane."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INTERNAL, "The task's lane is full: ask again when tasks are done.")


@dataclass(slots=True)
class _Replay:
    """How far a replay has come."""

    give_up_at: float  # by the monotonic clock: once something is queued again
    ends: dict[str, int] = field(default_factory=dict)  # of the logs that are to be opened again: stream sequences
    full: set[str] = field(default_factory=set)  # lanes

    @property
    def is_over(self) -> bool:
        """Whether there is no time for more."""
        return bool(self.ends) and time.monotonic() > self.give_up_at


class DeadLetterBox:
    """Keeps the letters in their stream."""

    def __init__(self, nats: Client, log: TaskLog, names: StreamNames, meter: Meter, *, max_payload: int) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._log = log
        self._meter = meter
        self._tasks, self._stream = names.tasks, names.dead_letters
        self._segments = names.segments
        self._longest_body = max_payload // 4  # bytes

    async def put(self, message: StoredMessage, task_id: str | None, error: ErrorDetail, *, attempts: int) -> None:
        """Store the letter of a failed message; asked again soon, it stays one letter."""
        body, encoding = _readable(message.body[: self._longest_body])
        letter = DeadLetter(
            task_id=task_id,
            kind=message.kind,
            subject=message.subject,
            body=body,
            body_encoding=encoding,
            body_truncated=len(message.body) > self._longest_body,
            headers=_few(message.headers),
            error=error,
            attempts=attempts,
            stream_sequence=message.sequence,
            time=datetime.now(UTC),
        )
        stored = await self._js.publish(
            subjects.dead_letters(message.kind),
            letter.model_dump_json().encode(),
            stream=self._stream,
            headers=self._headers(message, task_id),
        )
        if not stored.duplicate:
            self._meter.letter(message.kind, error.code)

    def _headers(self, message: StoredMessage, task_id: str | None) -> dict[str, str]:
        stored_at = int(message.time.timestamp())  # sequences begin anew with a stream
        letter_id = f"{self._tasks}-{message.sequence}-{stored_at}-{task_id or ''}"
        trace = message.traceparent
        found = cloud_events.headers("dead_letters", self._log.source, letter_id, task_id=task_id)
        return found if trace is None else found | {TRACEPARENT: trace}

    async def _pages(self) -> AsyncIterator[list[tuple[int, DeadLetter]]]:
        """All letters from the oldest on, each with its stream sequence, so many at once."""
        async for found in pages(self._nats, self._stream, subjects.ALL_DEAD_LETTERS):
            letters = []
            for message in found:
                with suppress(ValueError):  # somebody else wrote it
                    letters.append((message.seq or 0, DeadLetter.model_validate_json(message.data or b"")))
            yield letters

    async def replay(self, *, task_id: str | None, kind: Kind | None, code: ErrorCode | None) -> int:
        """Queue the matching tasks again, each once, as many as there is room and time for; how many (RequestError)."""
        replay, found = _Replay(give_up_at=time.monotonic() + ANSWER_WITHIN), False
        newest = (await self._js.stream_info(self._stream)).state.last_seq
        async for letters in self._pages():
            matching = [
                (sequence, letter)
                for sequence, letter in letters
                if sequence <= newest  # what fails again meanwhile is not tried for ever
                and task_id in (None, letter.task_id)
                and kind in (None, letter.kind)
                and code in (None, letter.error.code)
            ]
            found = found or bool(matching)
            await self._replay_all(matching, replay)
            if replay.is_over or (letters and letters[-1][0] > newest):
                break
        if task_id is not None and not found:
            raise RequestError(ErrorCode.NOT_FOUND, f"No dead letter is kept of task {task_id}: list what is there.")
        if replay.full and not replay.ends:
            raise NoRoomError
        await self._opened_again(replay.ends)
        return len(replay.ends)

    async def _replay_all(self, letters: Sequence[tuple[int, DeadLetter]], replay: "_Replay") -> None:
        logs = await self._log.last_of({letter.task_id for _, letter in letters if letter.task_id})
        for sequence, letter in letters:
            last = logs.get(letter.task_id or "")
            if replay.is_over:
                return
            if last is None or letter.subject in replay.full:
                continue
            try:
                replay.ends |= await self._replay(sequence, letter, last)
            except NoRoomError:
                replay.full.add(letter.subject)

    async def _opened_again(self, ends: dict[str, int]) -> None:
        """Wait a moment for `queued`: who replays looks at once, and would see the old end."""
        unopened = dict(islice(reversed(ends.items()), A_PAGE))  # they are opened in this order: the last ones tell
        with suppress(TimeoutError, NatsError):
            async with asyncio.timeout(OPENED_WITHIN):
                while unopened:
                    await asyncio.sleep(LOOK_EVERY)
                    known = await self._log.last_of(unopened)
                    ends_now = {each: entry.stream_sequence for each, entry in known.items()}
                    unopened = dict(unopened.items() & ends_now.items())

    async def _replay(self, sequence: int, letter: DeadLetter, last: Entry) -> dict[str, int]:
        """The task that is queued again, and where its log ended (NoRoomError)."""
        if letter.body_truncated or letter.task_id is None:
            return {}
        if last.event.state is not State.FAILED or last.facts.task is None:
            return {}
        headers = {
            name: value for name, value in letter.headers.items() if not name.lower().startswith(EXPECTATIONS)
        } | {"Nats-Msg-Id": f"replay-{letter.task_id}-{last.stream_sequence}", REPLAY_OF: str(last.stream_sequence)}
        await self._js.purge_stream(self._segments, subject=subjects.segments(letter.task_id))  # it starts afresh
        try:
            await self._js.publish(letter.subject, _bytes(letter), headers=headers)
        except APIError as error:
            if error.err_code == LANE_FULL:
                raise NoRoomError from error
            raise
        await self._remove(sequence)
        return {letter.task_id: last.stream_sequence}

    async def delete(self, task_id: str) -> bool:
        """Remove the letters of a task; whether there were any."""
        found = [at async for letters in self._pages() for at, letter in letters if letter.task_id == task_id]
        for sequence in found:
            await self._remove(sequence)
        return bool(found)

    async def _remove(self, sequence: int) -> None:
        with suppress(APIError):  # somebody else was faster
            await self._js.delete_msg(self._stream, sequence)


def _readable(body: bytes) -> tuple[str, BodyEncoding]:
    with suppress(UnicodeDecodeError):
        text = body.decode()
        if len(json.dumps(text, ensure_ascii=False)) < LARGEST_GROWTH * len(body) + 3:
            return text, BodyEncoding.UTF_8
    return base64.b64encode(body).decode(), BodyEncoding.BASE64


def _few(headers: Mapping[str, str]) -> dict[str, str]:
    """So many headers that the letter always fits into a message."""
    return {name: value for name, value in islice(headers.items(), MOST_HEADERS) if len(name + value) <= LONGEST_HEADER}


def _bytes(letter: DeadLetter) -> bytes:
    if letter.body_encoding is BodyEncoding.UTF_8:
        return letter.body.encode()
    return base64.b64decode(letter.body)
