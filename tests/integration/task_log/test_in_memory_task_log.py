"""The task log that unit tests use accepts and refuses the same appends as the real one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent

from app.fleet.stream_guard import provisioning
from app.runtime.errors import FencedError
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, NoResult, Record
from tests.fakes.engine import segment
from tests.fakes.messages import event as event_of
from tests.fakes.messages import transcript
from tests.fakes.task_log import InMemoryTaskLog
from tests.publishers import publishers

NOW = datetime.now(UTC)
METADATA = Metadata(None, 3, "tasks.transcription.high", NOW)
UNREADABLE = ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message="The recording is not audio.")
LATER_METADATA = Metadata(None, 4, "tasks.transcription.high", NOW)
RESULT = transcript()


def event(sequence: int, task_id: str = "t1") -> ProgressEvent:
    return event_of(State.RUNNING, sequence, task_id=task_id)


def batch(sequence: int) -> SegmentsEvent:
    return SegmentsEvent(
        task_id="t1", sequence=sequence, attempt=1, language="en", processed_seconds=10, segments=[segment(0)], time=NOW
    )


LAST = Record(event(1), METADATA, 1)
LATER_LAST = Record(event(1), LATER_METADATA, 2)


@pytest.fixture(params=["in memory", "jetstream"])
async def log(request: pytest.FixtureRequest, settings: Settings, nc: Client, js: JetStreamContext) -> TaskLog:
    if request.param == "in memory":
        return InMemoryTaskLog()
    await provisioning.provision(js, settings)
    return TaskLog(nc, publishers(nc), settings.stream_names, "w")


async def test_only_a_writer_that_knows_the_last_record_appends(log: TaskLog) -> None:
    # Given a log with two records, and a log of another task
    first = await log.append(event(1), METADATA, after=0)
    await log.append(event(1, "t2"), METADATA, after=0)
    second = await log.append(event(2), METADATA, after=first.stream_sequence)
    # When a writer appends that has read none of them, or only the first one
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


async def test_segments_are_appended_by_compare_and_set(log: TaskLog) -> None:
    # Given two batches
    first = await log.append_segments(batch(1), METADATA, "sha", after=0)
    await log.append_segments(batch(2), METADATA, "sha", after=first)
    # When a third one comes behind the first
    with pytest.raises(FencedError):
        await log.append_segments(batch(3), METADATA, "sha", after=first)
    # Then there are two, as they were written
    batches = [
        (batch.event.sequence, batch.audio_sha256, batch.metadata.task_sequence) async for batch in log.segments("t1")
    ]
    assert batches == [(1, "sha", 3), (2, "sha", 3)]
    # And those up to a sequence can be removed
    await log.purge_segments("t1", up_to=first)
    assert [batch.event.sequence async for batch in log.segments("t1")] == [2]


async def test_a_task_has_one_result(log: TaskLog) -> None:
    # Given a result
    body = RESULT.model_dump_json().encode()
    await log.append_result(body, LAST)
    # When the same task message gives another one, then that is refused
    with pytest.raises(FencedError):
        await log.append_result(body, LAST)
    # But a later task message with this id replaces it
    await log.append_result(body, LATER_LAST)
    assert await log.outcome(LAST) is None
    assert await log.outcome(LATER_LAST) == RESULT
    # And only its own is removed
    await log.purge_outcome("t1", of=METADATA.owner)
    assert await log.outcome(LATER_LAST) == RESULT
    await log.purge_outcome("t1", of=LATER_METADATA.owner)
    assert await log.outcome(LATER_LAST) is None


async def test_a_task_has_a_result_or_none_is_ever_stored(log: TaskLog) -> None:
    # Given a task message whose result is forbidden
    forbidden = await log.forbid_result(LAST, UNREADABLE)
    # When it gives one, then that is refused
    body = RESULT.model_dump_json().encode()
    with pytest.raises(FencedError):
        await log.append_result(body, LAST)
    # And a second call returns the first outcome
    assert await log.forbid_result(LAST, None) == forbidden == NoResult(task_id="t1", after=1, error=UNREADABLE)
    # But a later task message with this id may have one
    await log.append_result(body, LATER_LAST)
    assert await log.forbid_result(LATER_LAST, None) == RESULT
    # And an earlier one forbids nothing
    with pytest.raises(FencedError):
        await log.forbid_result(LAST, None)
    assert await log.outcome(LATER_LAST) == RESULT


async def test_a_forbidden_result_is_stored_once_the_log_goes_on(log: TaskLog) -> None:
    # Given a result that was forbidden behind a record, and another record behind that one
    await log.forbid_result(LAST, UNREADABLE)
    further = replace(LAST, stream_sequence=5)
    assert await log.outcome(further) is None
    # When the writer of the last record forbids it again, then only that counts
    forbidden = await log.forbid_result(further, None)
    assert forbidden == NoResult(task_id="t1", after=5, error=None)
    assert await log.forbid_result(LAST, UNREADABLE) == forbidden
    # And when the log continues once more, then a result is stored, which no call replaces
    last = replace(LAST, stream_sequence=9)
    await log.append_result(RESULT.model_dump_json().encode(), last)
    assert await log.forbid_result(replace(last, stream_sequence=12), None) == RESULT


async def test_a_new_stream_with_the_same_sequences_has_other_owners(log: TaskLog) -> None:
    # Given the outcome of a stream's third message
    await log.forbid_result(LAST, UNREADABLE)
    # When the third message of a new stream has the same id
    recreated = replace(LAST, metadata=replace(METADATA, created_at=NOW + timedelta(days=1)))
    # Then its outcome is its own
    assert await log.outcome(recreated) is None
    await log.append_result(RESULT.model_dump_json().encode(), recreated)
    assert await log.outcome(recreated) == RESULT
    await log.purge_outcome("t1", of=METADATA.owner)
    assert await log.outcome(recreated) == RESULT


async def test_a_purged_log_starts_again(log: TaskLog) -> None:
    await log.append(event(1), METADATA, after=0)
    await log.append_segments(batch(1), METADATA, "sha", after=0)
    await log.purge_events("t1")
    assert await log.last("t1") is None
    assert [batch async for batch in log.segments("t1")] == []
    again = await log.append(event(1), METADATA, after=0)
    assert again.stream_sequence == 2
