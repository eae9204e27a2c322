"""Finds the recordings that tasks in the queues need."""

from collections.abc import Collection

from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames

from app.queue.index import QueueIndex
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages
from app.task_log.record import TaskMessageId


class QueuedRecordings:
    """An index of the tasks in the queues (waiting or running), by the recording that they name."""

    def __init__(self, nats: Client, names: StreamNames, messages: TaskMessages) -> None:
        self._index = QueueIndex(nats, names, messages, _recording)

    async def filter_used(self, recordings: Collection[str], *, except_by: Collection[TaskMessageId]) -> set[str]:
        """Return those of `recordings` that a waiting or running task needs.

        `except_by`: ids of task messages to ignore, for example because their tasks have ended.

        Raises:
            NatsError: NATS does not answer.
        """
        await self._index.update()
        return {audio_file_id for audio_file_id in recordings if await self._is_used(audio_file_id, except_by)}

    async def _is_used(self, audio_file_id: str, except_by: Collection[TaskMessageId]) -> bool:
        async for message in self._index.indexed(audio_file_id):
            owner = TaskMessageId(message.time, message.sequence)
            if not any(owner.is_same_as(exception) for exception in except_by):
                return True
        return False


def _recording(message: StoredMessage) -> str | None:
    task = message.task
    return None if task is None else task.audio_file_id
