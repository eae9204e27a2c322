"""The task log that unit tests use keeps and refuses what the true one keeps and refuses."""

from datetime import UTC, datetime

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from app.errors import FencedError
from app.jetstream import provisioning, streams
from app.settings import Settings
from app.task_log.log import TaskLog
from app.task_log.record import Metadata, NoResult
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import ProgressEvent, State
from schemas.transcription import SegmentsEvent, TranscriptionResult
from schemas.wire import Kind, Model
from tests.fakes.engine import segment
from tests.fakes.task_log import InMemoryTaskLog

NOW = datetime.now(UTC)
METADATA = Metadata(None, 3, "tasks.transcription.high", NOW)
NO_SOUND = ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message="The recording is no sound.")
LATER_METADATA = Metadata(None, 4, "tasks.transcription.high", NOW)
RESULT = TranscriptionResult(
    task_id="t1",
    audio_file_id="meeting.flac",
    user_id=7,
    text="one",
    language="en",
    duration=10,
    segments=[segment(0)],
    model=Model(name="fake", revision="0"),
    audio_sha256="0" * 64,
    created_at=NOW,
)


def event(sequence: int, task_id: str = "t1", state: State = State.RUNNING) -> ProgressEvent:
    return ProgressEvent(
        task_id=task_id, kind=Kind.TRANSCRIPTION, state=state, max_attempts=4, sequence=sequence, time=NOW
    )


def batch(sequence: int) -> SegmentsEvent:
    return SegmentsEvent(
        task_id="t1", sequence=sequence, attempt=1, language="en", processed_seconds=10, segments=[segment(0)], time=NOW
    )


@pytest.fixture(params=["in memory", "jetstream"])
async def log(request: pytest.FixtureRequest, settings: Settings, nc: Client, js: JetStreamContext) -> TaskLog:
    if request.param == "in memory":
        return InMemoryTaskLog()
    await provisioning.provision(js, settings)
    return TaskLog(nc, streams.names(settings), "w")


async def test_only_who_knows_the_last_record_appends(log: TaskLog) -> None:
    # Given a log with two records, and a log of another task
    first = await log.append(event(1), METADATA, after=0)
    await log.append(event(1, "t2"), METADATA, after=0)
    second = await log.append(event(2), METADATA, after=first.stream_sequence)
    # When somebody appends who knows none of them, or the first one only
    for after in (0, first.stream_sequence):
        with pytest.raises(FencedError):
            await log.append(event(3), METADATA, after=after)
    # Then the log is as it was
    assert await log.last("t1") == second
    assert await log.last("t3") is None
    assert set(await log.last_of(["t1", "t2", "t3"])) == {"t1", "t2"}


async def test_sequences_count_over_all_logs_of_a_stream(log: TaskLog) -> None:
    first = await log.append(event(1), METADATA, after=0)
    other = await log.append(event(1, "t2"), METADATA, after=0)
    assert (first.stream_sequence, other.stream_sequence) == (1, 2)


async def test_segments_are_compared_and_set_too(log: TaskLog) -> None:
    # Given two batches
    first = await log.append_segments(batch(1), METADATA, "sha", after=0)
    await log.append_segments(batch(2), METADATA, "sha", after=first)
    # When a third one comes behind the first
    with pytest.raises(FencedError):
        await log.append_segments(batch(3), METADATA, "sha", after=first)
    # Then there are two, as they were written
    found = [(each.event.sequence, each.audio_sha256, each.task_sequence) async for each in log.segments("t1")]
    assert found == [(1, "sha", 3), (2, "sha", 3)]
    # And those up to a sequence can be removed
    await log.purge_segments("t1", up_to=first)
    assert [each.event.sequence async for each in log.segments("t1")] == [2]


async def test_a_task_has_one_result(log: TaskLog) -> None:
    # Given a result
    body = RESULT.model_dump_json().encode()
    await log.append_result("t1", body, METADATA)
    # When the same task message gives another one, then that is refused
    with pytest.raises(FencedError):
        await log.append_result("t1", body, METADATA)
    # But a later task message with this id replaces it
    await log.append_result("t1", body, LATER_METADATA)
    assert await log.outcome("t1", of=METADATA.task_sequence) is None
    assert await log.outcome("t1", of=LATER_METADATA.task_sequence) == RESULT
    # And only its own is removed
    await log.purge_outcome("t1", of=METADATA.task_sequence)
    assert await log.outcome("t1", of=LATER_METADATA.task_sequence) == RESULT
    await log.purge_outcome("t1", of=LATER_METADATA.task_sequence)
    assert await log.outcome("t1", of=LATER_METADATA.task_sequence) is None


async def test_a_task_has_a_result_or_none_is_ever_stored(log: TaskLog) -> None:
    # Given a task message whose result is forbidden
    forbidden = await log.forbid_result("t1", METADATA, NO_SOUND)
    # When it gives one, then that is refused
    body = RESULT.model_dump_json().encode()
    with pytest.raises(FencedError):
        await log.append_result("t1", body, METADATA)
    # And whoever forbids it once more learns what counts
    assert await log.forbid_result("t1", METADATA, None) == forbidden == NoResult(task_id="t1", error=NO_SOUND)
    # But a later task message with this id may have one
    await log.append_result("t1", body, LATER_METADATA)
    assert await log.forbid_result("t1", LATER_METADATA, None) == RESULT
    # And an earlier one forbids nothing
    with pytest.raises(FencedError):
        await log.forbid_result("t1", METADATA, None)
    assert await log.outcome("t1", of=LATER_METADATA.task_sequence) == RESULT


async def test_a_log_that_was_removed_begins_anew(log: TaskLog) -> None:
    await log.append(event(1), METADATA, after=0)
    await log.append_segments(batch(1), METADATA, "sha", after=0)
    await log.purge_events("t1")
    assert await log.last("t1") is None
    assert [each async for each in log.segments("t1")] == []
    again = await log.append(event(1), METADATA, after=0)
    assert again.stream_sequence == 2
