"""Embeddings of a task's speakers: kept in a bucket of their own, as everybody who follows tasks may read results."""

from typing import Final

from nats.aio.client import Client
from nats.js.errors import NotFoundError
from natscribe.jetstream import leader_reads

from app.jetstream.key_value import EMBEDDINGS_BUCKET, key_value_stream, key_value_subject, put
from app.task_log.record import Metadata, Owner, Record

_STREAM: Final = key_value_stream(EMBEDDINGS_BUCKET)


class EmbeddingStore:
    """Keeps the embeddings of each task in one message, which names its owner: the message of the task."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._js = nats.jetstream()

    async def put(self, embeddings: bytes, last: Record) -> None:
        """Keep the embeddings of a task in place of earlier ones; `last` is the last record of the task's log.

        Raises:
            BucketFullError: The bucket has no room.
            NatsError: NATS does not answer.
        """
        await put(self._js, EMBEDDINGS_BUCKET, last.event.task_id, embeddings, last.metadata.headers())

    async def find(self, task_id: str, *, of: Owner) -> bytes | None:
        """Return the embeddings of a task that the task message `of` owns, as JSON; None if there are none.

        Raises:
            NatsError: NATS does not answer.
        """
        kept = await leader_reads.last(self._nats, _STREAM, _subject(task_id))
        if kept is None or not Metadata.read(kept.headers or {}).owner.is_same_as(of):
            return None
        return kept.data

    async def delete(self, task_id: str, *, of: Owner | None = None) -> None:
        """Remove the embeddings of a task; with `of`, only if that task message owns them.

        Raises:
            NatsError: NATS does not answer.
        """
        if of is None or await self.find(task_id, of=of) is not None:
            try:
                await self._js.purge_stream(_STREAM, subject=_subject(task_id))
            except NotFoundError:  # the bucket is missing, and made anew soon
                return


def _subject(task_id: str) -> str:
    return key_value_subject(EMBEDDINGS_BUCKET, task_id)
