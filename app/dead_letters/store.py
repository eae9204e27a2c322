"""Dead letters: what could not be done, stored once, and kept until somebody has it tried again or deletes it."""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from nats.aio.client import Client
from nats.js.errors import APIError

from app.jetstream import stream_pages
from app.queue.stored_message import StoredMessage
from app.task_log import cloud_events
from app.task_log.log import TaskLog
from app.telemetry.metrics import Meter
from schemas import subjects
from schemas.dead_letters import BodyEncoding, DeadLetter
from schemas.errors import ErrorCode, ErrorDetail
from schemas.headers import TRACEPARENT
from schemas.stream_names import StreamNames
from schemas.wire import Kind

NOT_THERE = 10057  # err_code of nats-server, where a message is to be deleted
ANSWER_WITHIN = 3.5  # seconds: clients wait for five
LARGEST_GROWTH = 2  # control characters take six bytes each in JSON: such a body is better off as base64
MOST_HEADERS, LONGEST_HEADER = 32, 1024  # characters


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which letters are meant: those that match all that is given."""

    task_id: str | None
    kind: Kind | None
    code: ErrorCode | None

    def includes(self, letter: DeadLetter) -> bool:
        """Whether this letter is meant."""
        return (
            self.task_id in (None, letter.task_id)
            and self.kind in (None, letter.kind)
            and self.code in (None, letter.error.code)
        )


class DeadLetterBox:
    """Keeps the letters in their stream."""

    def __init__(self, nats: Client, log: TaskLog, names: StreamNames, meter: Meter, *, max_payload: int) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._log = log
        self._meter = meter
        self._tasks, self._stream = names.tasks, names.dead_letters
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
            subjects.append_to(subjects.dead_letters(message.kind)),
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

    async def pages(self, *, after: int = 0) -> AsyncIterator[list[tuple[int, DeadLetter]]]:
        """All letters behind stream sequence `after`, from the oldest on, each with its own, so many at once."""
        async for found in stream_pages.pages(self._nats, self._stream, subjects.ALL_DEAD_LETTERS, after=after):
            letters = []
            for message in found:
                with suppress(ValueError):  # somebody else wrote it
                    letters.append((message.seq or 0, DeadLetter.model_validate_json(message.data or b"")))
            yield letters

    async def delete(
        self, *, task_id: str | None, kind: Kind | None, code: ErrorCode | None, after: int
    ) -> tuple[int, int | None]:
        """Remove the letters behind stream sequence `after` that match all that is given, the oldest first.

        How many, and behind which one to go on, None where all were looked at: whoever asks does not wait for ever.
        """
        chosen = Chosen(task_id, kind, code)
        give_up_at = time.monotonic() + ANSWER_WITHIN
        count = 0
        async for letters in self.pages(after=after):
            count += await self._remove(chosen, letters)
            if letters and time.monotonic() > give_up_at:
                return count, letters[-1][0]
        return count, None

    async def delete_all(self, task_id: str) -> bool:
        """Remove all letters of a task; whether there were any."""
        chosen = Chosen(task_id, None, None)
        return sum([await self._remove(chosen, letters) async for letters in self.pages()]) > 0

    async def _remove(self, chosen: Chosen, letters: Iterable[tuple[int, DeadLetter]]) -> int:
        return sum([await self.remove(sequence) for sequence, letter in letters if chosen.includes(letter)])

    async def remove(self, sequence: int) -> bool:
        """Remove one letter by its stream sequence; False where somebody else was faster (APIError)."""
        try:
            return await self._js.delete_msg(self._stream, sequence)
        except APIError as error:
            if error.err_code != NOT_THERE:
                raise
            return False


def _readable(body: bytes) -> tuple[str, BodyEncoding]:
    with suppress(UnicodeDecodeError):
        text = body.decode()
        if len(json.dumps(text, ensure_ascii=False)) < LARGEST_GROWTH * len(body) + 3:
            return text, BodyEncoding.UTF_8
    return base64.b64encode(body).decode(), BodyEncoding.BASE64


def _few(headers: Mapping[str, str]) -> dict[str, str]:
    """So many headers that the letter always fits into a message."""
    return {name: value for name, value in islice(headers.items(), MOST_HEADERS) if len(name + value) <= LONGEST_HEADER}
