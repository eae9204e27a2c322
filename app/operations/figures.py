"""Figures of the task queues: how many tasks wait in each, how long they have waited, and how much audio they are."""

from datetime import UTC, datetime

from nats.js import JetStreamContext

from app.queue.priorities import QueueReader, TaskQueue
from app.telemetry.metrics import TaskQueueFigures
from schemas.stream_names import StreamNames

SAMPLE = 50  # messages of a queue whose length is read; those behind them are taken to be as long on average


class QueueFigures:
    """Reads the figures off the streams."""

    def __init__(self, js: JetStreamContext, names: StreamNames, queues: QueueReader) -> None:
        self._js = js
        self._names = names
        self._reader = queues

    async def queues(self) -> list[TaskQueueFigures]:
        """The figures of all task queues, in the order of priorities."""
        queues = await self._reader.read(sample=SAMPLE)
        now = datetime.now(UTC)
        return [
            TaskQueueFigures(
                queue.subject,
                waiting=queue.waiting,
                oldest=(now - queue.oldest).total_seconds() if queue.oldest else 0.0,
                audio=_audio_seconds(queue),
                messages=queues.messages.get(queue.subject, 0),
                limit=queues.limit,
            )
            for queue in queues.by_key.values()
        ]

    async def letters(self) -> int:
        """How many dead letters are kept."""
        return (await self._js.stream_info(self._names.dead_letters)).state.messages


def _audio_seconds(queue: TaskQueue) -> float:
    known = [message.audio_seconds or 0.0 for message in (*queue.redelivered, *queue.sample)]
    return sum(known) * queue.waiting / max(len(known), 1)
