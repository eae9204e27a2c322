"""The events that the data of tasks were erased; they name no user who was deleted."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from nats.js.errors import APIError
from natscribe.jetstream import cloud_events, stream_pages
from natscribe.jetstream.error_codes import DELETE_FAILED
from natscribe.schemas import subjects
from natscribe.schemas.erased import Erased, ErasureReason

from app.storage.jetstream.records import is_record, parse_stored
from app.tasks.task_log.record import TaskMessageId


@dataclass(frozen=True, slots=True)
class ErasedEvents:
    """Stores events that data of tasks were erased, and removes the ids of deleted users from them.

    `source`: the CloudEvents source of the events. All methods raise NatsError if NATS does not answer.
    """

    nats: Client
    publisher: LogicPublisher
    stream: str
    source: str

    async def append(
        self, task_id: str, owner: TaskMessageId, reason: ErasureReason, user_id: int | str | None, *, what: str = ""
    ) -> None:
        """Store the event that the data of a task were erased; JetStream drops it if an interrupted erasure repeats it.

        `owner`: the task message of the task, since a later task may have the same id. `what`: tells events about one
        task message apart.
        """
        user = None if reason is ErasureReason.USER else user_id
        event = Erased(task_id=task_id, user_id=user, reason=reason, time=datetime.now(UTC))
        await self._store(event, f"{task_id}-{owner.task_sequence}-{int(owner.created_at.timestamp())}{what}")

    async def append_late(self, task_id: str, owner: TaskMessageId) -> None:
        """Store the event that a result was erased which was stored after the data of its task were erased."""
        await self.append(task_id, owner, ErasureReason.REQUEST, None, what="-late")

    async def without_user(self, user_id: int | str, *, after: int) -> AsyncGenerator[int]:
        """Replace the events that name a deleted user by events that do not, and yield the sequence of each event.

        `after`: only events after this stream sequence.
        """
        async for page in stream_pages.pages(self.nats, self.stream, subjects.erased("*"), after=after):
            for message in filter(is_record, page):
                event, sequence = parse_stored(Erased, message.data or b"", message.subject or ""), message.seq or 0
                if type(event.user_id) is type(user_id) and event.user_id == user_id:
                    await self._store(event.model_copy(update={"user_id": None}), f"{event.task_id}-{sequence}-user")
                    await self._delete(sequence)
                yield sequence

    async def _delete(self, sequence: int) -> None:
        try:
            await self.nats.jetstream().delete_msg(self.stream, sequence)
        except APIError as error:  # another request has just deleted it, or NATS refuses
            if error.err_code not in DELETE_FAILED:
                raise

    async def _store(self, event: Erased, event_id: str) -> None:
        headers = cloud_events.headers("erased", self.source, event_id, task_id=event.task_id)
        subject, body = subjects.append_to(subjects.erased(event.task_id)), event.model_dump_json().encode()
        await self.publisher.publish(body, subject, headers, stream=self.stream)
