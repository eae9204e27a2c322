"""The segments of one task as an attempt finds them and appends to them."""

from dataclasses import replace

from app.task_log.log import TaskLog
from app.task_log.record import Metadata
from app.updates import Checkpoint, Found
from schemas.transcription import Segment, SegmentsEvent, Stretch


class StaleSegmentsError(Exception):
    """Somebody who does not own the task has appended segments: read them, and go on where they end."""


class TaskSegments:
    """Knows where the segments' log ends; whose it is says the log of events."""

    def __init__(self, log: TaskLog, task_id: str, task_sequence: int) -> None:
        self._log = log
        self._task_id = task_id
        self._task_sequence = task_sequence
        self._sequence = 0
        self._after = 0  # stream sequence of the last batch

    @property
    def last(self) -> int:
        """The stream sequence of the last batch, 0 where there is none."""
        return self._after

    async def read(self) -> Checkpoint:
        """What earlier attempts have found; what was found for another task of the same id is none of it."""
        found = Checkpoint()
        segments: list[Segment] = []
        untranscribed: list[Stretch] = []
        async for batch in self._log.segments(self._task_id):
            self._after = batch.stream_sequence
            if batch.task_sequence != self._task_sequence:
                continue
            event = batch.event
            segments += event.segments
            untranscribed += event.untranscribed
            found = Checkpoint(event.language, event.channel, event.processed_seconds, audio_sha256=batch.audio_sha256)
            self._sequence = event.sequence
        return replace(found, segments=tuple(segments), untranscribed=tuple(untranscribed))

    async def append(self, found: Found, metadata: Metadata, *, attempt: int) -> None:
        """Append a batch behind the last one (FencedError, TransientError)."""
        event = SegmentsEvent(
            task_id=self._task_id,
            attempt=attempt,
            sequence=self._sequence + 1,
            language=found.language,
            channel=found.channel,
            processed_seconds=found.processed_seconds,
            segments=list(found.segments),
            untranscribed=list(found.untranscribed),
        )
        self._after = await self._log.append_segments(event, metadata, found.audio_sha256, after=self._after)
        self._sequence += 1
