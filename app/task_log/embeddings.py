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
        return await self._find(task_id, of)

    async def _find(self, key: str, of: TaskMessageId) -> bytes | None:
        message = await leader_reads.last_message(self._nats, _STREAM, _subject(key))
        if message is None:
            return None
        try:
            owner = Metadata.read(message.headers or {}).owner
        except (ValueError, LookupError) as error:
            raise UnreadableError(_subject(key)) from error
        return message.data if owner.is_same_as(of) else None

    async def put_live(self, state: bytes, last: Record) -> None:
        """Store what another worker needs to recognize the speakers of a live task; for the rest see `put`."""
        key = _live_key(last.event.task_id)
        await put(self._js, EMBEDDINGS_BUCKET, key, state, last.metadata.headers())

    async def find_live(self, task_id: str, *, of: TaskMessageId) -> bytes | None:
        """Return what `put_live` has stored; for the rest see `find`."""
        return await self._find(_live_key(task_id), of)

    async def delete_live(self, task_id: str) -> None:
        """Delete what `put_live` has stored.

        Raises:
            NatsError: NATS does not answer.
        """
        with suppress(NotFoundError):
            await self._js.purge_stream(_STREAM, subject=_subject(_live_key(task_id)))

    async def delete(self, task_id: str, *, of: TaskMessageId | None = None) -> None:
        """Delete the embeddings of a task.

        `of`: delete them only if they belong to this task message, because another message may have the same task id;
        None: in any case.

        Raises:
            NatsError: NATS does not answer.
            UnreadableError: Another version of the service has stored the embeddings.
        """
        for key in (task_id, _live_key(task_id)):
            if of is None or await self._find(key, of) is not None:
                with suppress(NotFoundError):  # the bucket is missing, and will be recreated
                    await self._js.purge_stream(_STREAM, subject=_subject(key))


def _live_key(task_id: str) -> str:
    return f"{task_id}="  # no task id contains this character


def _subject(key: str) -> str:
    return key_value_subject(EMBEDDINGS_BUCKET, key)
