"""The checkpoint of a task: what earlier attempts have found."""

from dataclasses import replace
from typing import NamedTuple

from natscribe.schemas.transcription import Segment, Stretch

from app.task_log.log import TaskLog
from app.task_log.record import Owner
from app.updates import Checkpoint


class StaleSegmentsError(Exception):
    """A worker that does not own the task has appended segments: the next delivery reads the segments and continues."""


class StoredSegments(NamedTuple):
    """The checkpoint of a task, in how many messages its segments are stored, and the stream sequence of the last one.

    The last message may belong to an earlier task with the same id.
    """

    checkpoint: Checkpoint
    batches: int
    stream_sequence: int


async def read_segments(log: TaskLog, task_id: str, owner: Owner) -> StoredSegments:
    """Read what earlier attempts of a task have found, without the segments of an earlier task with the same id.

    `owner` is the task message that owns the task's log.

    Raises:
        TransientError: JetStream does not answer.
    """
    found, number, stream_sequence = Checkpoint(), 0, 0
    segments: list[Segment] = []
    untranscribed: list[Stretch] = []
    reached: dict[int | None, float] = {}
    async for batch in log.segments(task_id):
        stream_sequence, event = batch.stream_sequence, batch.event
        if not batch.metadata.owner.is_same_as(owner):
            continue
        number = event.sequence
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
    found = replace(found, segments=tuple(segments), untranscribed=tuple(untranscribed), reached=reached)
    return StoredSegments(found, number, stream_sequence)
