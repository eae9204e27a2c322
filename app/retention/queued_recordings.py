"""Finds the recordings that waiting tasks need."""

from collections.abc import Collection

from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames

from app.queue.index import QueueIndex
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages
from app.task_log.record import Owner


class QueuedRecordings:
    """Finds out which recordings the tasks in the queues name."""

    def __init__(self, nats: Client, names: StreamNames, messages: TaskMessages) -> None:
        self._index = QueueIndex(nats, names, messages, _recording)

    async def among(self, wanted: Collection[str], *, besides: Collection[Owner]) -> set[str]:
        """Return which of the `wanted` recordings are named by a task in the queues, apart from the tasks `besides`.

        Raises:
            NatsError: NATS does not answer.
        """
        await self._index.update()
        return {audio_file_id for audio_file_id in wanted if await self._is_named(audio_file_id, besides)}

    async def _is_named(self, audio_file_id: str, besides: Collection[Owner]) -> bool:
        async for message in self._index.indexed(audio_file_id):
            if not _is_any_of(message, besides):
                return True
        return False


def _recording(message: StoredMessage) -> str | None:
    task = message.task
    return None if task is None else task.audio_file_id


def _is_any_of(message: StoredMessage, owners: Collection[Owner]) -> bool:
    owner = Owner(message.time, message.sequence)
    return any(owner.is_same_as(each) for each in owners)
