"""The metrics of live tasks of one worker."""

import pytest
from prometheus_client import CollectorRegistry

from app.telemetry.live_metrics import LiveMetrics

LAG = "natscribe_live_lag_seconds"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> LiveMetrics:
    return LiveMetrics(registry)


def test_the_lag_is_that_of_the_task_that_is_behind_most(metrics: LiveMetrics, registry: CollectorRegistry) -> None:
    with metrics.following() as slow, metrics.following() as quick:
        # Given two tasks of which one is behind
        slow(7.0)
        quick(0.5)
        # Then the gauge has the worst, whichever was reported last
        assert registry.get_sample_value(LAG) == 7.0
        # When it catches up
        slow(0.2)
        # Then the other one is the worst
        assert registry.get_sample_value(LAG) == 0.5


def test_the_lag_falls_when_the_task_that_is_behind_ends(metrics: LiveMetrics, registry: CollectorRegistry) -> None:
    with metrics.following() as quick:
        quick(0.5)
        with metrics.following() as slow:
            slow(7.0)
        assert registry.get_sample_value(LAG) == 0.5
    # And without a task there is none
    assert registry.get_sample_value(LAG) == 0.0


def test_a_delivery_that_ends_leaves_the_lag_of_the_next_one_of_its_task(
    metrics: LiveMetrics, registry: CollectorRegistry
) -> None:
    # Given a task whose delivery was lost, and which this worker has got again before the first run has ended
    with metrics.following() as later:
        with metrics.following() as earlier:
            earlier(3.0)
        later(2.0)
        assert registry.get_sample_value(LAG) == 2.0
    # When something comes late from a run that has ended, then it does not count
    earlier(9.0)
    assert registry.get_sample_value(LAG) == 0.0
