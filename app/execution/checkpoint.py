"""The checkpoint of a task: reads the segments that earlier attempts have found, and appends new ones."""

from dataclasses import replace

from natscribe.schemas.sharing import WindowText
from natscribe.schemas.transcription import Segment, SegmentsEvent, Stretch

from app.errors import FencedError
from app.task_log.log import TaskLog
from app.task_log.record import Metadata, Owner
from app.updates import Checkpoint


class StaleSegmentsError(Exception):
    """A worker that does not own the task has appended segments: the next delivery reads the segments and continues."""


class CheckpointLog:
    """The log of a task's segments. It does not decide which worker owns the task: the log of events does."""

    def __init__(self, log: TaskLog, task_id: str, owner: Owner) -> None:
        self._log = log
        self._task_id = task_id
        self._owner = owner
        self._sequence = 0
        self._after = 0  # stream sequence of the last batch that this worker has read or appended

    async def read(self) -> Checkpoint:
        """Read what earlier attempts have found, without the batches of an earlier task with the same id.

        Raises:
            TransientError: JetStream does not answer.
        """
        found = Checkpoint()
        segments: list[Segment] = []
        untranscribed: list[Stretch] = []
        reached: dict[int | None, float] = {}
        async for batch in self._log.segments(self._task_id):
            self._after = batch.stream_sequence
            if not batch.metadata.owner.is_same_as(self._owner):
                continue
            event = batch.event
            segments += event.segments
            untranscribed += event.untranscribed
            reached[event.channel] = event.processed_seconds
            found = Checkpoint(
                event.language,
                event.channel,
                event.processed_seconds,
                audio_sha256=batch.audio_sha256,
                sound_from=batch.metadata.sound_from,
            )
            self._sequence = event.sequence
        return replace(found, segments=tuple(segments), untranscribed=tuple(untranscribed), reached=reached)

    async def append(self, text: WindowText, metadata: Metadata, audio_sha256: str, *, attempt: int) -> None:
        """Append the text of the next windows.

        Raises:
            StaleSegmentsError: A worker that does not own the task has appended a batch.
            TransientError: JetStream does not answer.
        """
        event = SegmentsEvent(
            task_id=self._task_id,
            attempt=attempt,
            sequence=self._sequence + 1,
            language=text.language,
            channel=text.channel,
            processed_seconds=text.end,
            segments=text.segments,
            untranscribed=text.untranscribed,
        )
        try:
            self._after = await self._log.append_segments(event, metadata, audio_sha256, after=self._after)
        except FencedError as error:
            raise StaleSegmentsError from error
        self._sequence += 1

    async def purge(self) -> None:
        """Remove the batches up to the last one that this worker has read or appended."""
        if self._after:
            await self._log.purge_segments(self._task_id, up_to=self._after)
