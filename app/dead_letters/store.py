"""The dead letters: the messages of tasks that failed for good, each stored once, until it is replayed or deleted."""

import base64
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from nats.aio.client import Client
from nats.js.errors import APIError

from app.jetstream import stream_pages
from app.queue.stored_message import StoredMessage
from app.task_log import cloud_events
from app.task_log.log import TaskLog
from app.telemetry.metrics import Meter
from schemas import subjects
from schemas.dead_letters import BodyEncoding, DeadLetter
from schemas.errors import ErrorDetail
from schemas.headers import TRACEPARENT
from schemas.requests import DeadLetterChoice, DeleteLettersRequest, LettersDeleted
from schemas.stream_names import StreamNames

NO_SUCH_MESSAGE: Final = 10057  # err_code of nats-server, where a message is to be deleted
ANSWER_WITHIN_S = 3.5  # clients wait for five
LARGEST_GROWTH = 2  # control characters take six bytes each in JSON: base64 is shorter for a body with many
MOST_HEADERS, LONGEST_HEADER = 32, 1024  # characters


def is_chosen(letter: DeadLetter, choice: DeadLetterChoice) -> bool:
    """Whether a dead letter matches all that is given."""
    return (
        choice.task_id in (None, letter.task_id)
        and choice.kind in (None, letter.kind)
        and choice.code in (None, letter.error.code)
    )


class DeadLetterStore:
    """Stores the dead letters in their stream."""

    def __init__(self, nats: Client, log: TaskLog, names: StreamNames, meter: Meter, *, max_payload: int) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._log = log
        self._meter = meter
        self._tasks, self._stream = names.tasks, names.dead_letters
        self._longest_body = max_payload // 4  # bytes

    async def put(self, message: StoredMessage, task_id: str | None, error: ErrorDetail, *, attempts: int) -> None:
        """Store the dead letter of a failed message, unless it is stored already."""
        body, encoding = _readable(message.body[: self._longest_body])
        letter = DeadLetter(
            task_id=task_id,
            kind=message.kind,
            subject=message.subject,
            body=body,
            body_encoding=encoding,
            body_truncated=len(message.body) > self._longest_body,
            headers=_limited(message.headers),
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
        stored_at = int(message.time.timestamp())  # a new stream counts its sequences from 1
        letter_id = f"{self._tasks}-{message.sequence}-{stored_at}-{task_id or ''}"
        trace = {TRACEPARENT: message.traceparent} if message.traceparent is not None else {}
        return cloud_events.headers("dead_letters", self._log.source, letter_id, task_id=task_id) | trace

    async def pages(self, *, after: int = 0) -> AsyncIterator[list[tuple[int, DeadLetter]]]:
        """All dead letters behind stream sequence `after`, each with its own, the oldest first, a page at a time.

        Raises:
            NatsError: NATS does not answer.
        """
        async for messages in stream_pages.pages(self._nats, self._stream, subjects.ALL_DEAD_LETTERS, after=after):
            letters = []
            for message in messages:
                with suppress(ValueError):  # the service did not write it
                    letters.append((message.seq or 0, DeadLetter.model_validate_json(message.data or b"")))
            yield letters

    async def delete(self, request: DeleteLettersRequest) -> LettersDeleted:
        """Delete the chosen dead letters, as many as there is time for."""
        give_up_at = time.monotonic() + ANSWER_WITHIN_S
        count = 0
        async for letters in self.pages(after=request.after):
            count += await self._delete_chosen(request, letters)
            if letters and time.monotonic() > give_up_at:
                return LettersDeleted(deleted=count, more_after=letters[-1][0])
        return LettersDeleted(deleted=count)

    async def delete_all(self, task_id: str) -> bool:
        """Delete all dead letters of a task; return whether there were any."""
        choice = DeadLetterChoice(task_id=task_id)
        return sum([await self._delete_chosen(choice, letters) async for letters in self.pages()]) > 0

    async def delete_one(self, sequence: int) -> bool:
        """Delete a dead letter by its stream sequence; False where it was deleted already.

        Raises:
            APIError: JetStream refuses to.
        """
        try:
            return await self._js.delete_msg(self._stream, sequence)
        except APIError as error:
            if error.err_code != NO_SUCH_MESSAGE:
                raise
            return False

    async def _delete_chosen(self, choice: DeadLetterChoice, letters: Iterable[tuple[int, DeadLetter]]) -> int:
        return sum([await self.delete_one(sequence) for sequence, letter in letters if is_chosen(letter, choice)])


def _readable(body: bytes) -> tuple[str, BodyEncoding]:
    with suppress(UnicodeDecodeError):
        text = body.decode()
        if len(json.dumps(text, ensure_ascii=False)) < LARGEST_GROWTH * len(body) + 3:
            return text, BodyEncoding.UTF_8
    return base64.b64encode(body).decode(), BodyEncoding.BASE64


def _limited(headers: Mapping[str, str]) -> dict[str, str]:
    """As many headers as fit into a message with everything else."""
    return {name: value for name, value in islice(headers.items(), MOST_HEADERS) if len(name + value) <= LONGEST_HEADER}
