"""Metrics: each counts what it names."""

import json

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind, Priority
from prometheus_client.parser import text_string_to_metric_families

from app.errors import PermanentError, TransientError
from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually

TRANSIENT = TransientError(ErrorCode.ENGINE_FAILED, "The engine died: it is tried again.")
PERMANENT = PermanentError(ErrorCode.AUDIO_UNREADABLE, "The recording is no sound: upload a sound file.")
TRANSCRIPTION = ("task_name", "process_transcription")


def sample(worker: Worker, name: str, *labels: tuple[str, str]) -> float | None:
    for family in text_string_to_metric_families(worker.container.meter.exposition().decode()):
        for found in family.samples:
            if found.name == name and set(labels) <= set(found.labels.items()):
                return found.value
    return None


async def test_what_was_done_is_counted(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task that ends well at the second attempt, one that fails, and one whose id is known
    engine.fail_with = [TRANSIENT, None, PERMANENT]
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    await publisher.publish("t2")
    await publisher.until("t2", State.FAILED)
    await publisher.publish("t1")
    await eventually(lambda: queue_is_empty(js))

    # Then each is counted once
    async def all_settled() -> bool:
        return sample(worker, "natscribe_task_duplicates_total", TRANSCRIPTION) == 1

    await eventually(all_settled)
    assert sample(worker, "task_success_total", TRANSCRIPTION) == 1
    assert sample(worker, "task_failure_total", TRANSCRIPTION, ("error_code", "audio_unreadable")) == 1
    assert sample(worker, "natscribe_task_retries_total", TRANSCRIPTION, ("error_code", "engine_failed")) == 1
    assert sample(worker, "natscribe_task_redeliveries_total", TRANSCRIPTION) == 1
    assert sample(worker, "natscribe_dead_letters_total", TRANSCRIPTION, ("error_code", "audio_unreadable")) == 1
    # And so is the time it took
    assert sample(worker, "task_processing_time_seconds_count", TRANSCRIPTION) == 2
    assert sample(worker, "natscribe_task_queue_wait_seconds_count", TRANSCRIPTION) == 2
    assert sample(worker, "natscribe_task_audio_seconds_total", TRANSCRIPTION) == 30
    assert sample(worker, "natscribe_task_real_time_factor_count", TRANSCRIPTION) == 1
    assert sample(worker, "natscribe_task_untranscribed_seconds_total", TRANSCRIPTION) == 0


async def test_the_queue_is_measured_queue_by_queue(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a busy worker, and three tasks that wait in one queue, of which two have their length
    engine.may_go_on.clear()
    queue = ("queue_name", "tasks.diarization.low")
    async with start_worker(engine) as worker:
        await publisher.publish("busy", priority=Priority.HIGH)
        await publisher.until("busy", State.RUNNING)
        for task_id, seconds in (("d1", "600"), ("d2", "60"), ("d3", "nonsense")):
            task = {"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 7}
            headers = {"Natscribe-Audio-Seconds": seconds}
            await js.publish("tasks.diarization.low", json.dumps(task).encode(), headers=headers)
            await publisher.until(task_id, State.QUEUED)
        # When the queue is measured
        await worker.container.maintenance.measure_queues()
        # Then each queue has its own figures
        assert sample(worker, "task_queue_size", queue) == 3
        assert sample(worker, "task_queue_size", ("queue_name", "tasks.transcription.high")) == 0
        assert sample(worker, "natscribe_stream_messages", ("queue_name", "tasks.transcription.high")) == 1
        assert sample(worker, "natscribe_stream_messages_limit", queue) == 10_000
        assert sample(worker, "natscribe_task_backlog_audio_seconds", queue) == 660
        oldest = sample(worker, "natscribe_task_oldest_waiting_seconds", queue)
        assert oldest is not None
        assert 0 < oldest < 60
        assert sample(worker, "task_in_progress", TRANSCRIPTION) == 1
        engine.may_go_on.set()
        await publisher.until("d3", State.COMPLETED)


async def test_a_task_that_does_not_get_on_shows(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine
) -> None:
    engine.may_go_on.clear()
    async with start_worker(engine) as worker:
        await publisher.publish("t1")
        await publisher.until("t1", State.RUNNING)

        async def stands_still() -> bool:
            return (sample(worker, "natscribe_task_seconds_since_progress", TRANSCRIPTION) or 0) > 1

        await eventually(stands_still)
        assert (sample(worker, "natscribe_task_running_seconds", TRANSCRIPTION) or 0) > 1
        engine.may_go_on.set()
        await publisher.until("t1", State.COMPLETED)

        async def is_over() -> bool:
            return sample(worker, "natscribe_task_running_seconds", TRANSCRIPTION) == 0

        await eventually(is_over)


@pytest.mark.parametrize(
    ("name", "value"), [("natscribe_nats_up", 1), ("natscribe_redis_up", 1), ("natscribe_model_loaded", 1)]
)
async def test_the_worker_says_what_it_has_at_hand(worker: Worker, name: str, value: float) -> None:
    async def exposed() -> bool:
        return sample(worker, name) == value

    await eventually(exposed)
    assert (sample(worker, "natscribe_worker_memory_bytes", ("part", "worker")) or 0) > 10_000_000


async def test_a_worker_begins_at_nought(worker: Worker) -> None:
    # Given a worker that has had no task: its first success is an increase, and sums have something to add
    for name in ("task_success_total", "task_processing_time_seconds_count", "task_in_progress"):
        assert sample(worker, name, TRANSCRIPTION) == 0


async def test_no_figure_names_a_task(publisher: Publisher, worker: Worker) -> None:
    await publisher.publish("secret-id", user_id=90071992547409911, kind=Kind.DIARIZATION)
    await publisher.until("secret-id", State.COMPLETED)
    text = worker.container.meter.exposition().decode()
    assert "secret-id" not in text
    assert "90071992547409911" not in text
