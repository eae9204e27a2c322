"""The checkpoint of a task: what earlier attempts have found."""

from typing import NamedTuple

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
    batches = [batch async for batch in log.segments(task_id)]
    own = [batch for batch in batches if batch.metadata.owner.is_same_as(owner)]
    stream_sequence = batches[-1].stream_sequence if batches else 0
    if not own:
        return StoredSegments(Checkpoint(), 0, stream_sequence)
    last, events = own[-1], [batch.event for batch in own]
    checkpoint = Checkpoint(
        last.event.language,
        last.event.channel,
        last.event.processed_seconds,
        segments=tuple(segment for event in events for segment in event.segments),
        untranscribed=tuple(gap for event in events for gap in event.untranscribed),
        audio_sha256=last.audio_sha256,
        reached={event.channel: event.processed_seconds for event in events},
        audio_offset=last.metadata.audio_offset,
    )
    return StoredSegments(checkpoint, last.event.sequence, stream_sequence)
