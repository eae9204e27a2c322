"""The checkpoint of a task: the segments that its attempts have found, read from their log and appended to it."""

from dataclasses import replace

from app.errors import FencedError
from app.task_log.log import TaskLog
from app.task_log.record import Metadata
from app.updates import Checkpoint, Found
from schemas.transcription import Segment, SegmentsEvent, Stretch


class StaleSegmentsError(Exception):
    """Somebody who does not own the task has appended segments: read them, and go on where they end."""


class CheckpointLog:
    """Knows where the log of a task's segments ends; the log of its progress decides who owns the task."""

    def __init__(self, log: TaskLog, task_id: str, task_sequence: int) -> None:
        self._log = log
        self._task_id = task_id
        self._task_sequence = task_sequence
        self._sequence = 0
        self._after = 0  # stream sequence of the last batch

    async def read(self) -> Checkpoint:
        """Read what earlier attempts have found; batches of another task that had the same id do not count.

        Raises:
            TransientError: JetStream does not answer.
        """
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
        """Append a batch behind the last one.

        Raises:
            StaleSegmentsError: Somebody who does not own the task has appended a batch.
            TransientError: JetStream does not answer.
        """
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
        try:
            self._after = await self._log.append_segments(event, metadata, found.audio_sha256, after=self._after)
        except FencedError as error:
            raise StaleSegmentsError from error
        self._sequence += 1

    async def purge(self) -> None:
        """Remove the batches that this worker knows."""
        if self._after:
            await self._log.purge_segments(self._task_id, up_to=self._after)
