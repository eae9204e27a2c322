"""Metrics have names of one service, and figures of those that are there."""

import pytest
from natscribe.schemas.wire import Queue

from app.telemetry.metrics import Meter
from app.telemetry.storage_metrics import KEPT_S, StorageMetrics, Stored

NAMED_BY_THE_BRIEF = {
    "task_processing_time_seconds",
    "task_success",
    "task_failure",
    "task_queue_size",
    "task_in_progress",
}


def test_every_name_but_those_of_the_brief_begins_with_the_service() -> None:
    # When a worker describes its metrics
    names = {family.name for family in Meter().registry.collect()}
    # Then the brief's names are there, and all others have one prefix, so that no other service has the same name
    assert names >= NAMED_BY_THE_BRIEF
    assert {name for name in names if not name.startswith("natscribe_")} == NAMED_BY_THE_BRIEF


def test_a_new_worker_has_no_figure_below_zero() -> None:
    samples = [sample for family in Meter().registry.collect() for sample in family.samples]
    assert [sample.name for sample in samples if sample.value < 0] == []
    assert [sample.value for sample in samples if sample.name == "natscribe_build_info"] == [1]


@pytest.mark.parametrize(("seconds", "quicker_than"), [(0.9, "0.01"), (49.0, "0.5"), (501.0, "+Inf")])
def test_the_speed_of_work_is_told_from_a_hundred_times_as_quick_as_speech(seconds: float, quicker_than: str) -> None:
    # When a worker has done a hundred seconds of sound
    meter = Meter()
    meter.completed(Queue.TRANSCRIPTION, seconds, audio_seconds=100.0)
    # Then its speed is counted in the smallest bucket that fits
    buckets = [
        sample.labels["le"]
        for family in meter.registry.collect()
        for sample in family.samples
        if sample.name == "natscribe_task_real_time_factor_bucket" and sample.value
    ]
    assert buckets[0] == quicker_than


def servers(metrics: StorageMetrics) -> set[str]:
    return {sample.labels["server"] for family in metrics.collect() for sample in family.samples}


def test_a_server_that_has_left_has_no_figures() -> None:
    # Given two servers that have answered
    now = 0.0
    metrics = StorageMetrics(clock=lambda: now)
    stored = Stored(used={"disk": 1}, limits={"disk": 2}, streams={"OBJ_audio": 1})
    metrics.note("stays", stored)
    metrics.note("leaves", stored)
    assert servers(metrics) == {"stays", "leaves"}
    # When one of them misses an answer, then its figures stay
    now = KEPT_S - 1
    metrics.note("stays", stored)
    assert servers(metrics) == {"stays", "leaves"}
    # And when it has left, they go
    now = KEPT_S
    assert servers(metrics) == {"stays"}
