"""Metrics have names of one service, and figures of those that are there."""

import os
from pathlib import Path

import pytest
from natscribe.schemas.wire import TaskType
from prometheus_client import CollectorRegistry

from app.runtime.telemetry import metrics
from app.runtime.telemetry.fleet_metrics import RETAINED_S, FleetMetrics, NaNFilter
from app.runtime.telemetry.metrics import Meter

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
    # When a worker has processed a hundred seconds of audio
    meter = Meter()
    meter.completed(TaskType.TRANSCRIPTION, seconds, audio_seconds=100.0)
    # Then its speed is counted in the smallest bucket that fits
    buckets = [
        sample.labels["le"]
        for family in meter.registry.collect()
        for sample in family.samples
        if sample.name == "natscribe_task_real_time_factor_bucket" and sample.value
    ]
    assert buckets[0] == quicker_than


def test_metrics_of_killed_workers_are_removed(tmp_path: Path) -> None:
    lives, killed = (tmp_path / f"gauge_livesum_{process}.db" for process in (os.getpid(), 2**22 + 1))
    for file in (lives, killed):
        file.touch()
    metrics.remove_dead_processes(tmp_path)
    assert list(tmp_path.iterdir()) == [lives]


def servers(registry: CollectorRegistry) -> set[str]:
    return {sample.labels["server"] for family in NaNFilter(registry).collect() for sample in family.samples}


def test_a_server_that_has_left_has_no_metrics() -> None:
    # Given two servers that have replied
    now, registry = 0.0, CollectorRegistry()
    fleet = FleetMetrics(registry, clock=lambda: now)
    stored = {"used": {"disk": 1}, "limit": {"disk": 2}, "size": {"OBJ_audio": 1}}
    fleet.set_storage({"stays": stored, "leaves": stored})
    assert servers(registry) == {"stays", "leaves"}
    # When one of them misses a reply, then its figures stay
    now = RETAINED_S - 1
    fleet.set_storage({"stays": stored})
    assert servers(registry) == {"stays", "leaves"}
    # And when it has left, they go
    now = RETAINED_S
    fleet.set_storage({"stays": stored})
    assert servers(registry) == {"stays"}


def test_a_deleted_stream_has_no_size() -> None:
    registry = CollectorRegistry()
    fleet = FleetMetrics(registry)
    fleet.set_storage({"n1": {"used": {}, "limit": {}, "size": {"OBJ_audio": 1, "OBJ_results": 2}}})
    fleet.set_storage({"n1": {"used": {}, "limit": {}, "size": {"OBJ_results": 2}}})
    assert [sample.labels["stream"] for family in NaNFilter(registry).collect() for sample in family.samples] == [
        "OBJ_results"
    ]


def test_a_page_has_figures_of_the_fleet_only_while_its_worker_measures_them() -> None:
    # Given a worker that has measured nothing
    meter = Meter()
    assert b"\nnatscribe_reminders " not in meter.exposition()
    assert b"\ntask_queue_size{" not in meter.exposition()
    # When it measures, then its page has the figures
    meter.reminders.set(3)
    meter.waiting.labels("tasks.live.high").set(0)
    assert b"\nnatscribe_reminders 3.0" in meter.exposition()
    assert b'task_queue_size{queue_name="tasks.live.high"} 0.0' in meter.exposition()
    # And when another worker measures, then they are gone, and the worker's own figures stay
    meter.fleet.forget()
    assert b"\nnatscribe_reminders " not in meter.exposition()
    assert b"\ntask_queue_size{" not in meter.exposition()
    assert b"task_in_progress{" in meter.exposition()
