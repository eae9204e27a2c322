"""The metrics of live tasks of one worker."""

import pytest
from prometheus_client import CollectorRegistry

from app.runtime.telemetry.live_metrics import LiveMetrics

LAG = "natscribe_live_lag_seconds"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> LiveMetrics:
    return LiveMetrics(registry)


def test_the_lag_is_that_of_the_task_that_is_behind_most(metrics: LiveMetrics, registry: CollectorRegistry) -> None:
    # Given two tasks of which one is behind
    metrics.set_lag("slow", 7.0)
    metrics.set_lag("quick", 0.5)
    # Then the gauge has the worst, whichever was reported last
    assert registry.get_sample_value(LAG) == 7.0
    # When it catches up
    metrics.set_lag("slow", 0.2)
    # Then the other one is the worst
    assert registry.get_sample_value(LAG) == 0.5


def test_the_lag_falls_when_the_task_that_is_behind_ends(metrics: LiveMetrics, registry: CollectorRegistry) -> None:
    metrics.set_lag("quick", 0.5)
    metrics.set_lag("slow", 7.0)
    metrics.set_lag("slow", None)
    assert registry.get_sample_value(LAG) == 0.5
    # And without a task there is none, also if the end is reported twice
    for _ in range(2):
        metrics.set_lag("quick", None)
    assert registry.get_sample_value(LAG) == 0.0
