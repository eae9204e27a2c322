"""Figures of the queue: how many tasks wait in each lane, how long they have waited, and how much audio they are."""

from datetime import UTC, datetime

from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from app.metrics import LaneFigures
from handlers.channels import StreamNames
from schemas import subjects
from schemas.headers import AUDIO_SECONDS
from schemas.wire import Kind, Priority

LONGEST = 24 * 3600.0  # seconds, for one recording
SAMPLE = 50  # messages of a lane whose length is looked at; what is behind them counts like them


class QueueFigures:
    """Reads the figures off the streams."""

    def __init__(self, js: JetStreamContext, names: StreamNames) -> None:
        self._js = js
        self._names = names

    async def lanes(self) -> list[LaneFigures]:
        """All lanes, in the order in which they are served."""
        stream = await self._js.stream_info(self._names.tasks, subjects_filter="tasks.>")
        held, limit = stream.state.subjects or {}, stream.config.max_msgs_per_subject or 0
        found = []
        for priority in Priority:
            for kind in Kind:
                lane = subjects.tasks(kind, priority)
                consumer = await self._js.consumer_info(self._names.tasks, self._names.lane(kind, priority))
                waiting = consumer.num_pending or 0
                sample = await self._sample(lane, consumer.delivered.stream_seq if consumer.delivered else 0, waiting)
                oldest = _age(sample[0]) if sample else 0.0
                audio = sum(map(_audio_seconds, sample)) * waiting / max(len(sample), 1)
                found.append(LaneFigures(lane, waiting, oldest, audio, held.get(lane, 0), limit))
        return found

    async def letters(self) -> int:
        """How many dead letters are kept."""
        return (await self._js.stream_info(self._names.dead_letters)).state.messages

    async def _sample(self, lane: str, delivered: int, waiting: int) -> list[RawStreamMsg]:
        """The messages that wait longest."""
        found: list[RawStreamMsg] = []
        at = delivered
        while len(found) < min(waiting, SAMPLE):
            try:
                message = await self._js.get_msg(self._names.tasks, at + 1, subject=lane, direct=True, next=True)
            except NotFoundError:
                break  # somebody has asked for them meanwhile
            found.append(message)
            at = message.seq or at + 1
        return found


def _age(message: RawStreamMsg) -> float:
    return (datetime.now(UTC) - message.time).total_seconds() if message.time else 0.0


def _audio_seconds(message: RawStreamMsg) -> float:
    """What the publisher says, which may be anything."""
    try:
        return min(max(float((message.headers or {}).get(AUDIO_SECONDS, 0)), 0.0), LONGEST)
    except ValueError:
        return 0.0
