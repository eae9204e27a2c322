"""Figures of the queue: how many tasks wait in each lane, how long they have waited, and how much audio they are."""

from datetime import UTC, datetime

from nats.js import JetStreamContext

from app.queue.priorities import QueueReader, TaskQueue
from app.telemetry.metrics import LaneFigures
from schemas.stream_names import StreamNames

SAMPLE = 50  # messages of a lane whose length is looked at; what is behind them counts like them


class QueueFigures:
    """Reads the figures off the streams."""

    def __init__(self, js: JetStreamContext, names: StreamNames, lanes: QueueReader) -> None:
        self._js = js
        self._names = names
        self._lanes = lanes

    async def lanes(self) -> list[LaneFigures]:
        """All lanes, in the order in which they are served."""
        queue = await self._lanes.read(sample=SAMPLE)
        now = datetime.now(UTC)
        return [
            LaneFigures(
                lane.subject,
                waiting=lane.waiting,
                oldest=(now - lane.oldest).total_seconds() if lane.oldest else 0.0,
                audio=_audio_seconds(lane),
                messages=queue.messages.get(lane.subject, 0),
                limit=queue.limit,
            )
            for lane in queue.by_key.values()
        ]

    async def letters(self) -> int:
        """How many dead letters are kept."""
        return (await self._js.stream_info(self._names.dead_letters)).state.messages


def _audio_seconds(lane: TaskQueue) -> float:
    known = [message.audio_seconds or 0.0 for message in (*lane.redelivered, *lane.sample)]
    return sum(known) * lane.waiting / max(len(known), 1)
