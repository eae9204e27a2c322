"""The store of dead letters: a stream that holds the messages of failed tasks that an operator should see, once."""

import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from functools import partial

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from nats.js.errors import APIError
from natscribe.jetstream import cloud_events
from natscribe.jetstream.dead_letters import dead_letter_pages, make_dead_letter
from natscribe.jetstream.error_codes import DELETE_FAILED
from natscribe.schemas import subjects
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.headers import TRACEPARENT
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.requests import DeadLetterChoice, DeleteLettersRequest, LettersDeleted
from natscribe.schemas.stream_names import StreamNames

from app.runtime.telemetry.metrics import Meter, task_name
from app.storage.jetstream.records import parse_stored
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.log import TaskLog

REPLY_WITHIN_S = 3.5  # less than the 5 s that clients wait for a reply


@dataclass(eq=False)
class DeadLetterStore:
    """Stores, lists and deletes dead letters: messages of failed tasks that an operator should see, with the error."""

    nats: Client
    publisher: LogicPublisher
    log: TaskLog
    names: StreamNames
    meter: Meter

    async def put_failed(self, message: StoredMessage, last: ProgressEvent) -> bool:
        """Store the message of a task that has failed with an error whose cause an operator can remove.

        `last`: the last event of the task. Return False if the task has not failed, or failed because of its client,
        whom this event tells so.
        """
        if last.error is None or last.error.code.is_client_error:
            return False
        await self.put(message, last.task_id, last.error, attempts=last.attempt)
        return True

    async def put(self, message: StoredMessage, task_id: str | None, error: ErrorDetail, *, attempts: int) -> None:
        """Store a task message as a dead letter with its error and number of attempts, unless it was already stored."""
        letter = make_dead_letter(message, task_id, error, attempts=attempts, max_payload=self.nats.max_payload)
        stored = await self.publisher.publish(
            letter.model_dump_json().encode(),
            subjects.append_to(subjects.dead_letters(message.kind)),
            self._headers(message, task_id),
            stream=self.names.dead_letters,
        )
        if not stored.duplicate:
            self.meter.dead_letters.labels(task_name(message.task_type), error.code).inc()

    def _headers(self, message: StoredMessage, task_id: str | None) -> dict[str, str]:
        # The time distinguishes messages with the same sequence: a recreated task stream counts from 1 again.
        stored_at = int(message.time.timestamp())
        letter_id = f"{self.names.tasks}-{message.sequence}-{stored_at}-{task_id or ''}"
        trace = {TRACEPARENT: message.traceparent} if message.traceparent is not None else {}
        return cloud_events.headers("dead_letters", self.log.source, letter_id, task_id=task_id) | trace

    def pages(self, *, after: int = 0) -> AsyncIterator[list[tuple[int, DeadLetter]]]:
        """Yield dead letters with their stream sequences, page by page, the oldest first.

        `after`: only dead letters after this stream sequence.
        """
        stream = self.names.dead_letters
        parse = partial(parse_stored, DeadLetter, stored_as=stream)
        return dead_letter_pages(self.nats, stream, after=after, parse=parse)

    async def delete(self, request: DeleteLettersRequest) -> LettersDeleted:
        """Delete the dead letters that match the request, and return how many were deleted.

        After REPLY_WITHIN_S, stop early: then `more_after` of the reply is the stream sequence after which the next
        request continues.
        """
        deadline = time.monotonic() + REPLY_WITHIN_S
        count = 0
        async for page in self.pages(after=request.after):
            count += await self._delete_chosen(request, page)
            if page and time.monotonic() > deadline:
                return LettersDeleted(deleted=count, more_after=page[-1][0])
        return LettersDeleted(deleted=count)

    async def delete_all(self, task_id: str) -> bool:
        """Delete all dead letters of a task; return whether any were deleted."""
        choice = DeadLetterChoice(task_id=task_id)
        return sum([await self._delete_chosen(choice, page) async for page in self.pages()]) > 0

    async def delete_one(self, sequence: int) -> bool:
        """Delete a dead letter by its stream sequence; return False if it is already deleted.

        Raises:
            APIError: JetStream refuses to delete the dead letter.
        """
        try:
            return await self.nats.jetstream().delete_msg(self.names.dead_letters, sequence)
        except APIError as error:
            if error.err_code not in DELETE_FAILED:
                raise
            return False

    async def _delete_chosen(self, choice: DeadLetterChoice, page: Iterable[tuple[int, DeadLetter]]) -> int:
        return sum([await self.delete_one(sequence) for sequence, letter in page if choice.chooses(letter)])
