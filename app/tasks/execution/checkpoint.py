"""Read the checkpoint of a task: the segments that earlier attempts have stored, after which the next one continues."""

from dataclasses import replace
from typing import Final, NamedTuple

from natscribe.schemas.errors import ErrorCode, ErrorDetail

from app.speech.updates import Checkpoint
from app.tasks.execution.retries import diarization_is_given_up, failed_or_lost
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record

SPEAKERS_LOST: Final = ErrorDetail(
    code=ErrorCode.WORKER_LOST, message="The workers were lost during the diarization: see the service's logs."
)


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


async def read_segments(log: TaskLog, last: Record) -> StoredSegments:
    """Read the segments that earlier attempts at a task have stored, without those of an earlier task with the same id.

    `last`: the last record of the task's log before the next attempt.

    Raises:
        TransientError: JetStream does not reply.
    """
    stored = [message async for message in log.segments(last.event.task_id)]
    own = [message for message in stored if message.metadata.owner.is_same_as(last.metadata.owner)]
    stream_sequence = stored[-1].stream_sequence if stored else 0
    error = (last.event.error or SPEAKERS_LOST) if diarization_is_given_up(last.event) else None
    before = Checkpoint(diarization_error=error, after_failure=failed_or_lost(last.event))
    if not own:
        return StoredSegments(before, 0, stream_sequence)
    newest, events = own[-1], [message.event for message in own]
    checkpoint = replace(
        before,
        language=newest.event.language,
        channel=newest.event.channel,
        processed_seconds=newest.event.processed_seconds,
        segments=tuple(segment for event in events for segment in event.segments),
        untranscribed=tuple(gap for event in events for gap in event.untranscribed),
        entities=tuple(entity for event in events for entity in event.entities),
        audio_sha256=newest.audio_sha256,
        reached={event.channel: event.processed_seconds for event in events},
        audio_offset=newest.metadata.audio_offset,
    )
    return StoredSegments(checkpoint, newest.event.sequence, stream_sequence)
