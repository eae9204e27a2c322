"""A delivery from its message to its settlement: what is counted, stored and released, and which task comes first."""

from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage, State
from natscribe.schemas.transcription import Interval, TranscriptionResult
from natscribe.schemas.wire import Priority, TaskType
from structlog.testing import capture_logs

from app.engines.windows import WindowText
from app.runtime.errors import PermanentError, TransientError
from app.speech.updates import NewText, Progress
from app.storage.jetstream.slots import SlotPool
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.projection.projection import RedisProjection
from app.tasks.queue.granted_task import GrantedTask
from tests.fakes.delivery import Handler, process
from tests.fakes.engine import segment
from tests.fakes.messages import transcript
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import DIED, NAMES, SETTINGS, Parts
from tests.waiting import eventually

KEY = (TaskType.TRANSCRIPTION, Priority.NORMAL)
READY = NAMES.slot_consumer(SlotPool.RECORDINGS)
TEXT = WindowText(segments=[segment(0)], untranscribed=[], language="en", end=10.0)


@pytest.fixture(autouse=True)
def _no_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RedisProjection, "delete_result", AsyncMock())


async def work(parts: Parts, handle: Handler, message: GrantedTask | None = None) -> None:
    await process(parts.task_middlewares, message or await parts.take(), handle)


async def completes(attempt: TaskAttempt) -> TranscriptionResult:
    await attempt.append(NewText(TEXT, "0" * 64))
    await attempt.append(Progress(Stage.TRANSCRIBING, 10.0, duration_seconds=20.0))
    return result(attempt.record.event.task_id)


def result(task_id: str) -> TranscriptionResult:
    missing = [Interval(start=5.0, end=7.0)]
    return transcript(task_id=task_id, duration=20, segments=[segment(0)], untranscribed=missing)


def fails(error: Exception) -> Handler:
    async def handle(_: TaskAttempt) -> None:
        raise error

    return handle


def counted(parts: Parts, *names: str) -> list[float]:
    """The sums of metrics of transcriptions."""
    values = dict.fromkeys(names, 0.0)
    for line in parts.meter.exposition().decode().splitlines():
        name = line.partition("{")[0]
        if name in values and "process_transcription" in line:
            values[name] += float(line.rpartition(" ")[2])
    return list(values.values())


ALL = ("task_success_total", "task_failure_total", "natscribe_task_retries_total", "natscribe_task_redeliveries_total")


async def state(parts: Parts) -> State:
    return (await parts.last()).event.state


async def test_a_completed_task_is_counted_with_its_audio(parts: Parts, nats: InMemoryNats) -> None:
    # Given a task that has waited for a minute
    await parts.publish("t1")
    nats.streams[NAMES.tasks].messages = [
        type(message)(
            message.subject, message.sequence, message.body, message.headers, message.time - timedelta(minutes=1)
        )
        for message in nats.streams[NAMES.tasks].messages
    ]
    # When it is done
    await work(parts, completes)
    # Then it counts once, with its seconds
    assert await state(parts) is State.COMPLETED
    assert nats.streams[NAMES.tasks].messages == []
    assert counted(parts, *ALL) == [1, 0, 0, 0]
    assert counted(parts, "natscribe_task_audio_seconds_total", "natscribe_task_untranscribed_seconds_total") == [20, 2]
    (waited,) = counted(parts, "natscribe_task_queue_wait_seconds_sum")
    assert 60 <= waited < 70
    (worked,) = counted(parts, "task_processing_time_seconds_sum")
    assert 0 < worked < 10
    assert counted(parts, "natscribe_task_resumes_total", "natscribe_dead_letters_total") == [0, 0]


@pytest.mark.parametrize(
    ("error", "ends_as", "numbers", "letters", "logged"),
    [
        (PermanentError(ErrorCode.WORKER_LOST, "The worker died."), State.FAILED, [0, 1, 0, 0], 1, False),
        (PermanentError(ErrorCode.AUDIO_UNREADABLE, "a.flac is not audio."), State.FAILED, [0, 1, 0, 0], 0, False),
        (TransientError(ErrorCode.INTERNAL, "Away."), State.RETRYING, [0, 0, 1, 0], 0, True),
        (RuntimeError(), State.RETRYING, [0, 0, 1, 0], 0, True),
    ],
)
async def test_a_failure_is_counted_by_the_state_that_follows(
    parts: Parts, nats: InMemoryNats, error: Exception, ends_as: State, numbers: list[float], letters: int, logged: bool
) -> None:
    await parts.publish("t1")
    with capture_logs() as lines:
        await work(parts, fails(error))
    # The log says why a part of the service failed; what is wrong with a recording may name its file
    (line,) = [entry for entry in lines if entry["event"] == "task_attempt_failed"]
    assert (line["reason"] is not None) is logged
    assert await state(parts) is ends_as
    assert counted(parts, *ALL) == numbers
    last = await parts.last()
    retries = [True] * (ends_as is State.RETRYING)
    assert [time > datetime.now(UTC) for time in [last.event.retry_at] if time] == retries
    # And an operator gets the message if that is who can mend it
    assert counted(parts, "natscribe_dead_letters_total") == [letters]
    assert len(nats.streams[NAMES.dead_letters].messages) == letters
    # And the message waits for the retry, or is gone
    put_off = nats.streams[NAMES.ready].consumers[READY].put_off_s
    assert [15 <= seconds <= 45 for seconds in put_off] == retries


async def test_an_attempt_that_resumes_is_counted(parts: Parts, nats: InMemoryNats) -> None:
    # Given a task whose first attempt has found ten seconds
    async def half(attempt: TaskAttempt) -> None:
        await attempt.append(NewText(TEXT, "0" * 64))
        await attempt.append(Progress(Stage.TRANSCRIBING, 10.0, duration_seconds=20.0))
        raise TransientError(ErrorCode.INTERNAL, "Away.")

    await parts.publish("t1")
    message = await parts.take()
    await work(parts, half, message)
    # When the second attempt goes on
    nats.streams[NAMES.ready].consumers[READY].again.append(1)
    await work(parts, completes_after_checkpoint)
    # Then it counts as resumed, and as delivered again
    assert await state(parts) is State.COMPLETED
    assert counted(parts, *ALL) == [1, 0, 1, 1]
    assert counted(parts, "natscribe_task_resumes_total", "natscribe_task_resumed_audio_seconds_total") == [1, 10]
    # And the time until its first attempt counts once
    assert counted(parts, "natscribe_task_queue_wait_seconds_count") == [1]


async def completes_after_checkpoint(attempt: TaskAttempt) -> TranscriptionResult:
    assert attempt.checkpoint.processed_seconds == 10
    return result("t1")


async def test_a_second_message_with_the_same_id_is_acknowledged_and_counted(parts: Parts, nats: InMemoryNats) -> None:
    await parts.reaching(State.RUNNING, "t1")
    await parts.publish("t1", user_id=8)
    await parts.take()
    await work(parts, completes)
    assert [message.sequence for message in nats.streams[NAMES.tasks].messages] == [1]
    assert counted(parts, "natscribe_task_duplicates_total") == [1]


@pytest.mark.parametrize("ended", [State.FAILED, State.CANCELLED])
async def test_a_task_that_has_ended_is_settled(parts: Parts, nats: InMemoryNats, ended: State) -> None:
    # Given a task that has ended while its message waited
    running = await parts.reaching(State.RUNNING, "t1")
    await parts.log.end(running, DIED if ended is State.FAILED else None)
    # When its message is delivered, then it goes, and a failure of the service has its dead letter
    await work(parts, completes)
    assert await state(parts) is ended
    assert counted(parts, *ALL) == [0, 0, 0, 0]
    assert nats.streams[NAMES.tasks].messages == []
    assert len(nats.streams[NAMES.dead_letters].messages) == (ended is State.FAILED)


async def test_a_client_that_was_told_its_error_leaves_no_dead_letter_when_the_message_comes_again(
    parts: Parts, nats: InMemoryNats
) -> None:
    # Given a task whose worker died after it had appended the failure
    await parts.reaching(State.FAILED, "t1")
    # When its message is delivered again, then it goes
    await work(parts, completes)
    assert (nats.streams[NAMES.tasks].messages, nats.streams[NAMES.dead_letters].messages) == ([], [])


async def test_a_failed_task_that_is_deleted_meanwhile_leaves_no_dead_letter(parts: Parts, nats: InMemoryNats) -> None:
    await parts.log.end(await parts.reaching(State.RUNNING, "t1"), DIED)

    def purge() -> None:
        nats.streams[NAMES.progress].purge({})

    nats.after("append.dead_letters", purge)
    await work(parts, completes)
    assert nats.streams[NAMES.dead_letters].messages == []


@pytest.mark.parametrize(
    ("body", "logged"), [(b'{"task_id": "t9"}', True), (b"{", False)], ids=["with an id", "without an id"]
)
async def test_an_invalid_message_fails(parts: Parts, nats: InMemoryNats, body: bytes, logged: bool) -> None:
    await parts.publish("", body=body)
    await work(parts, completes)
    last = await parts.log.last("t9")
    assert (last is not None) is logged
    assert last is None or last.event.state is State.FAILED
    # And the operator gets it only if the publisher cannot be told
    assert len(nats.streams[NAMES.dead_letters].messages) == (not logged)
    assert nats.streams[NAMES.tasks].messages == []


async def test_an_invalid_message_that_is_delivered_again_leaves_no_dead_letter(
    parts: Parts, nats: InMemoryNats
) -> None:
    # Given an invalid message whose worker died after it had told the publisher
    message = await parts.publish("t9", body=b'{"task_id": "t9"}')
    assert message.problem is not None
    event = message.first_event("t9", None, State.FAILED, max_attempts=4, error=message.problem, worker="w")
    await parts.log.append(event, message.metadata(None), after=0)
    # When it is delivered again, then it goes
    await work(parts, completes)
    assert (nats.streams[NAMES.tasks].messages, nats.streams[NAMES.dead_letters].messages) == ([], [])


async def test_an_invalid_message_with_the_id_of_another_task_becomes_a_dead_letter(
    parts: Parts, nats: InMemoryNats
) -> None:
    # Given a task, and an invalid message with its id, of which the task's log cannot tell
    await parts.reaching(State.RUNNING, "t1")
    await parts.publish("t1", body=b'{"task_id": "t1"}')
    await parts.take()
    # When it is delivered, then the operator gets it, and the task continues
    await work(parts, completes)
    assert await state(parts) is State.RUNNING
    assert len(nats.streams[NAMES.dead_letters].messages) == 1


async def test_a_message_that_a_later_version_has_registered_is_left_to_that_version(
    parts: Parts, nats: InMemoryNats
) -> None:
    # Given a task with an option of a later version, which that version has registered, and a copy of the message
    first = await parts.publish("t1", newer="wanted")
    assert first.problem is not None
    await parts.register(first)
    second = await parts.publish("t1", newer="wanted")
    # When this version receives both, then it returns the first, and rejects the second
    for _ in range(2):
        await work(parts, completes)
    assert await state(parts) is State.QUEUED
    assert [message.sequence for message in nats.streams[NAMES.tasks].messages] == [first.sequence]
    assert await parts.messages.find(None, second.sequence) is None
    assert len(nats.streams[NAMES.dead_letters].messages) == 1
    (put_off,) = nats.streams[NAMES.ready].consumers[READY].put_off_s
    assert put_off == pytest.approx(SETTINGS.task_retry_delay, rel=0.25)


async def test_a_failure_behind_the_result_counts_as_a_success(parts: Parts) -> None:
    async def too_late(attempt: TaskAttempt) -> None:
        await parts.results.publish(result("t1"), attempt.record)
        raise TransientError(ErrorCode.INTERNAL, "Away.")

    await parts.publish("t1")
    await work(parts, too_late)
    assert (await state(parts), counted(parts, *ALL)) == (State.COMPLETED, [1, 0, 0, 0])


async def test_metrics_have_the_running_time_of_a_task(nats: InMemoryNats) -> None:
    parts, counts = Parts(nats, SETTINGS.model_copy(update={"task_heartbeat": 0.01})), list[float]()
    names = ("task_in_progress", "natscribe_task_running_seconds", "natscribe_task_seconds_since_progress")

    async def runs(_: TaskAttempt) -> TranscriptionResult:
        async def update_counts() -> bool:
            counts[:] = counted(parts, *names)
            return counts[2] > 0

        await eventually(update_counts)
        return result("t1")

    await parts.publish("t1")
    await work(parts, runs)
    assert counts[0] == 1
    assert counts[2] < counts[1] < 60
    assert counted(parts, *names) == [0, 0, 0]


@pytest.mark.parametrize(("deleted", "put_off"), [(True, 0), (False, 1)])
async def test_an_empty_log_is_a_deletion_or_a_changed_stream(
    parts: Parts, nats: InMemoryNats, deleted: bool, put_off: int
) -> None:
    # Given a task whose log is gone while it runs, with its message or without
    await parts.publish("t1")
    message = await parts.take()

    async def emptied(_: TaskAttempt) -> TranscriptionResult:
        nats.streams[NAMES.progress].purge({})
        if deleted:
            await parts.messages.delete(message.stored)
        return result("t1")

    # When its worker continues, then the message is tried again if it is still there
    await work(parts, emptied, message)
    assert len(nats.streams[NAMES.ready].consumers[READY].put_off_s) == put_off
