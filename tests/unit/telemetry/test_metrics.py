"""Metrics have names of one service, and figures of those that are there."""

import os
from pathlib import Path

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Lane

from app.telemetry import metrics
from app.telemetry.metrics import Meter
from app.telemetry.storage_metrics import KEPT_S, StorageMetrics, Stored

NAMED_BY_THE_BRIEF = {
    "task_processing_time_seconds",
    "task_success",
    "task_failure",
    "task_queue_size",
    "task_in_progress",
}


def test_metric_names_have_the_prefix_of_the_service() -> None:
    # When a worker describes its metrics
    names = {family.name for family in Meter().registry.collect()}
    # Then the brief's names are there, and all others have one prefix, so that no other service has the same name
    assert names >= NAMED_BY_THE_BRIEF
    assert {name for name in names if not name.startswith("natscribe_")} == NAMED_BY_THE_BRIEF


def test_a_new_worker_has_no_negative_metric() -> None:
    # A first success is an increase then, and sums have something to add
    samples = [sample for family in Meter().registry.collect() for sample in family.samples]
    for name in ("task_success_total", "task_processing_time_seconds_count", "task_in_progress"):
        assert ("process_transcription", 0) in {(s.labels["task_name"], s.value) for s in samples if s.name == name}
    assert [sample.name for sample in samples if sample.value < 0] == []
    assert [sample.value for sample in samples if sample.name == "natscribe_build_info"] == [1]


@pytest.mark.parametrize(("seconds", "quicker_than"), [(0.9, "0.01"), (49.0, "0.5"), (501.0, "+Inf")])
def test_real_time_factors_start_at_one_hundredth(seconds: float, quicker_than: str) -> None:
    # When a worker has done a hundred seconds of sound
    meter = Meter()
    meter.completed(Lane.TRANSCRIPTION, seconds, audio_seconds=100.0)
    # Then its speed is counted in the smallest bucket that fits
    buckets = [
        sample.labels["le"]
        for family in meter.registry.collect()
        for sample in family.samples
        if sample.name == "natscribe_task_real_time_factor_bucket" and sample.value
    ]
    assert buckets[0] == quicker_than


@pytest.mark.parametrize(
    ("state", "counted"), [(State.RETRYING, "natscribe_task_retries_total"), (State.FAILED, "task_failure_total")]
)
def test_an_attempt_that_fails_is_retried_or_the_end_of_its_task(state: State, counted: str) -> None:
    meter = Meter()
    meter.failed(Lane.TRANSCRIPTION, state, ErrorCode.ENGINE_FAILED, 1.0)
    samples = [sample for family in meter.registry.collect() for sample in family.samples]
    assert [each.name for each in samples if "error_code" in each.labels and each.value == 1] == [counted]


def test_metrics_of_killed_workers_are_removed(tmp_path: Path) -> None:
    lives, killed = (tmp_path / f"gauge_livesum_{process}.db" for process in (os.getpid(), 2**22 + 1))
    for file in (lives, killed):
        file.touch()
    metrics.remove_dead_processes(tmp_path)
    assert list(tmp_path.iterdir()) == [lives]


def servers(storage: StorageMetrics) -> set[str]:
    return {sample.labels["server"] for family in storage.collect() for sample in family.samples}


def test_a_server_that_has_left_has_no_metrics() -> None:
    # Given two servers that have answered
    now = 0.0
    storage = StorageMetrics(clock=lambda: now)
    stored = Stored(used={"disk": 1}, limits={"disk": 2}, streams={"OBJ_audio": 1})
    storage.update("stays", stored)
    storage.update("leaves", stored)
    assert servers(storage) == {"stays", "leaves"}
    # When one of them misses an answer, then its figures stay
    now = KEPT_S - 1
    storage.update("stays", stored)
    assert servers(storage) == {"stays", "leaves"}
    # And when it has left, they go
    now = KEPT_S
    assert servers(storage) == {"stays"}
