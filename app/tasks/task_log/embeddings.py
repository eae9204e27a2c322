"""Speaker embeddings of tasks, stored apart from results, because every client that follows tasks may read results.

In addition, a live task has the state of its speakers, from which another worker can continue.
"""

from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.js.errors import NotFoundError
from natscribe.jetstream import leader_reads

from app.storage.jetstream.key_value import EMBEDDINGS_BUCKET, key_value_stream, key_value_subject, put
from app.storage.jetstream.records import UnreadableError
from app.tasks.task_log.record import Metadata, Record, TaskMessageId

_STREAM: Final = key_value_stream(EMBEDDINGS_BUCKET)


class EmbeddingStore:
    """Stores the speaker embeddings of each task as one message, whose headers identify the task message."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._js = nats.jetstream()

    async def put(self, embeddings: bytes, last: Record, *, is_live: bool = False) -> None:
        """Store the embeddings of a task in place of earlier ones; `last` is the last record of the task's log.

        `is_live`: whether `embeddings` is the state of a live task's speakers, which is stored separately.

        Raises:
            BucketFullError: The bucket is full.
            NatsError: NATS does not answer.
        """
        key = _key(last.event.task_id, is_live=is_live)
        await put(self._js, EMBEDDINGS_BUCKET, key, embeddings, last.metadata.headers())

    async def find(self, task_id: str, *, of: TaskMessageId, is_live: bool = False) -> bytes | None:
        """Return the speaker embeddings that `put` has stored for a task; None if it has stored none.

        `of`: the id of the task message for which they were stored, because a later message may have the same task id.
        `is_live`: whether to return the state of a live task's speakers instead, from which another worker can
        continue.

        Raises:
            NatsError: NATS does not answer.
            UnreadableError: Another version of the service has stored the embeddings.
        """
        subject = _subject(task_id, is_live=is_live)
        message = await leader_reads.last_message(self._nats, _STREAM, subject)
        if message is None:
            return None
        try:
            owner = Metadata.read(message.headers or {}).owner
        except (ValueError, LookupError) as error:
            raise UnreadableError(subject) from error
        return message.data if owner.is_same_as(of) else None

    async def delete(self, task_id: str, *, of: TaskMessageId | None = None) -> None:
        """Delete the embeddings of a task, and the state of its speakers.

        `of`: delete them only if they belong to this task message, because another message may have the same task id;
        None: in any case.

        Raises:
            NatsError: NATS does not answer.
            UnreadableError: Another version of the service has stored the embeddings.
        """
        for is_live in (False, True):
            if of is None or await self.find(task_id, of=of, is_live=is_live) is not None:
                await self.purge(task_id, is_live=is_live)

    async def purge(self, task_id: str, *, is_live: bool) -> None:
        """Delete the embeddings of a task, whichever task message they belong to.

        `is_live`: whether to delete the state of a live task's speakers instead.

        Raises:
            NatsError: NATS does not answer.
        """
        with suppress(NotFoundError):  # the bucket is missing, and will be recreated
            await self._js.purge_stream(_STREAM, subject=_subject(task_id, is_live=is_live))


def _key(task_id: str, *, is_live: bool) -> str:
    return f"{task_id}=" if is_live else task_id  # no task id contains this character


def _subject(task_id: str, *, is_live: bool) -> str:
    return key_value_subject(EMBEDDINGS_BUCKET, _key(task_id, is_live=is_live))
