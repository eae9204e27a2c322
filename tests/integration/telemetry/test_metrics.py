"""Metrics: each counts what it names."""

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind
from prometheus_client.parser import text_string_to_metric_families

from app.errors import PermanentError, TransientError
from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually

TRANSIENT = TransientError(ErrorCode.ENGINE_FAILED, "The engine died: it is tried again.")
PERMANENT = PermanentError(ErrorCode.AUDIO_UNREADABLE, "The recording is not audio: upload an audio file.")
TRANSCRIPTION = ("task_name", "process_transcription")


def sample(worker: Worker, name: str, *labels: tuple[str, str]) -> float | None:
    for family in text_string_to_metric_families(worker.container.meter.exposition().decode()):
        for metric_sample in family.samples:
            if metric_sample.name == name and set(labels) <= set(metric_sample.labels.items()):
                return metric_sample.value
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
    await eventually(lambda: sample(worker, "natscribe_task_duplicates_total", TRANSCRIPTION) == 1)
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


async def test_a_task_that_does_not_get_on_shows(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine
) -> None:
    engine.may_go_on.clear()
    async with start_worker(engine) as worker:
        await publisher.publish("t1")
        await publisher.until("t1", State.RUNNING)
        assert sample(worker, "task_in_progress", TRANSCRIPTION) == 1
        await eventually(lambda: (sample(worker, "natscribe_task_seconds_since_progress", TRANSCRIPTION) or 0) > 1)
        assert (sample(worker, "natscribe_task_running_seconds", TRANSCRIPTION) or 0) > 1
        engine.may_go_on.set()
        await publisher.until("t1", State.COMPLETED)
        await eventually(lambda: sample(worker, "natscribe_task_running_seconds", TRANSCRIPTION) == 0)


@pytest.mark.parametrize(
    ("name", "value"), [("natscribe_nats_up", 1), ("natscribe_redis_up", 1), ("natscribe_model_loaded", 1)]
)
async def test_a_worker_reports_its_tasks(worker: Worker, name: str, value: float) -> None:
    await eventually(lambda: sample(worker, name) == value)
    assert (sample(worker, "natscribe_worker_memory_bytes", ("part", "worker")) or 0) > 10_000_000


async def test_no_figure_names_a_task(publisher: Publisher, worker: Worker) -> None:
    await publisher.publish("secret-id", user_id=90071992547409911, kind=Kind.DIARIZATION)
    await publisher.until("secret-id", State.COMPLETED)
    text = worker.container.meter.exposition().decode()
    assert "secret-id" not in text
    assert "90071992547409911" not in text
