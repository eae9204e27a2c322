"""Speaker embeddings of tasks, stored apart from results, because every client that follows tasks may read results."""

from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.js.errors import NotFoundError
from natscribe.jetstream import leader_reads

from app.jetstream.key_value import EMBEDDINGS_BUCKET, key_value_stream, key_value_subject, put
from app.jetstream.records import UnreadableError
from app.task_log.record import Metadata, Record, TaskMessageId

_STREAM: Final = key_value_stream(EMBEDDINGS_BUCKET)


class EmbeddingStore:
    """Stores the speaker embeddings of each task as one message, whose headers identify the task message."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._js = nats.jetstream()

    async def put(self, embeddings: bytes, last: Record) -> None:
        """Store the embeddings of a task in place of earlier ones; `last` is the last record of the task's log.

        Raises:
            BucketFullError: The bucket is full.
            NatsError: NATS does not answer.
        """
        await put(self._js, EMBEDDINGS_BUCKET, last.event.task_id, embeddings, last.metadata.headers())

    async def find(self, task_id: str, *, of: TaskMessageId) -> bytes | None:
        """Return the stored embeddings of a task as JSON; None if there are none of this task message.

        `of`: the task message to which they must belong, because another message may have the same task id.

        Raises:
            NatsError: NATS does not answer.
            UnreadableError: Another version of the service has stored the embeddings.
        """
        message = await leader_reads.last_message(self._nats, _STREAM, _subject(task_id))
        if message is None:
            return None
        try:
            owner = Metadata.read(message.headers or {}).owner
        except (ValueError, LookupError) as error:
            raise UnreadableError(_subject(task_id)) from error
        return message.data if owner.is_same_as(of) else None

    async def delete(self, task_id: str, *, of: TaskMessageId | None = None) -> None:
        """Delete the embeddings of a task.

        `of`: delete them only if they belong to this task message, because another message may have the same task id;
        None: in any case.

        Raises:
            NatsError: NATS does not answer.
            UnreadableError: Another version of the service has stored the embeddings.
        """
        if of is None or await self.find(task_id, of=of) is not None:
            with suppress(NotFoundError):  # the bucket is missing, and will be recreated
                await self._js.purge_stream(_STREAM, subject=_subject(task_id))


def _subject(task_id: str) -> str:
    return key_value_subject(EMBEDDINGS_BUCKET, task_id)
