"""Read the checkpoint of a task: the segments that earlier attempts have stored, after which the next one continues."""

from typing import NamedTuple

from app.task_log.log import TaskLog
from app.task_log.record import TaskMessageId
from app.updates import Checkpoint


class StaleSegmentsError(Exception):
    """A worker that no longer owns the task has appended segments, so JetStream refuses the segments of this worker.

    The message is returned to its queue; the next delivery of the task reads those segments and continues after them.
    """


class StoredSegments(NamedTuple):
    """The checkpoint that the stored segments of a task add up to.

    `messages`: the number of messages with segments of this task. `stream_sequence`: of the last message, which may
    belong to an earlier task with the same id.
    """

    checkpoint: Checkpoint
    messages: int
    stream_sequence: int


async def read_segments(log: TaskLog, task_id: str, owner: TaskMessageId) -> StoredSegments:
    """Read the segments that earlier attempts at a task have stored, without those of an earlier task with the same id.

    `owner`: the id of the task message that owns the task's log.

    Raises:
        TransientError: JetStream does not reply.
    """
    stored = [message async for message in log.segments(task_id)]
    own = [message for message in stored if message.metadata.owner.is_same_as(owner)]
    stream_sequence = stored[-1].stream_sequence if stored else 0
    if not own:
        return StoredSegments(Checkpoint(), 0, stream_sequence)
    last, events = own[-1], [message.event for message in own]
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
