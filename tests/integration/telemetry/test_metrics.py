"""Metrics: each counts what it names."""

import pytest
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind
from prometheus_client.parser import text_string_to_metric_families

from app.main import Worker
from tests.integration.conftest import Publisher
from tests.waiting import eventually


def sample(worker: Worker, name: str, *labels: tuple[str, str]) -> float | None:
    for family in text_string_to_metric_families(worker.container.meter.exposition().decode()):
        for metric_sample in family.samples:
            if metric_sample.name == name and set(labels) <= set(metric_sample.labels.items()):
                return metric_sample.value
    return None


@pytest.mark.parametrize(
    ("name", "value"), [("natscribe_nats_up", 1), ("natscribe_redis_up", 1), ("natscribe_model_loaded", 1)]
)
async def test_a_worker_reports_its_tasks(worker: Worker, name: str, value: float) -> None:
    await eventually(lambda: sample(worker, name) == value)
    assert (sample(worker, "natscribe_worker_memory_bytes", ("part", "worker")) or 0) > 10_000_000


async def test_no_figure_names_a_task(publisher: Publisher, worker: Worker) -> None:
    await publisher.reaching(State.COMPLETED, "secret-id", user_id=90071992547409911, kind=Kind.DIARIZATION)
    text = worker.container.meter.exposition().decode()
    assert "secret-id" not in text
    assert "90071992547409911" not in text
