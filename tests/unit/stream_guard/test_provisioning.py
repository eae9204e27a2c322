"""When the streams and consumers of the service are healthy."""

import pytest
from natscribe.schemas.workers import Problem

from app.stream_guard.provisioning import Inspection
from app.stream_guard.resources import Difference

NEEDED = Difference(resource="tasks", setting="subjects", expected="a", actual="b", is_needed=True)
CHOSEN = Difference(resource="results", setting="num_replicas", expected="1", actual="3", is_needed=False)
PAUSED = Problem(what="The consumer worker is paused", next_step="Resume the consumer")


@pytest.mark.parametrize(
    ("missing", "differences", "paused", "broken", "is_healthy"),
    [
        ([], [], [], set(), True),
        ([], [CHOSEN], [], set(), True),
        (["progress"], [], [], {"progress"}, False),
        ([], [CHOSEN, NEEDED], [], {"tasks"}, False),
        (["progress"], [NEEDED], [PAUSED], {"progress", "tasks"}, False),
        ([], [], [PAUSED], set(), False),
    ],
)
def test_a_missing_stream_or_needed_setting_is_broken(
    missing: list[str], differences: list[Difference], paused: list[Problem], broken: set[str], is_healthy: bool
) -> None:
    state = Inspection(missing, differences, paused, progress_created_at=None, filled=[], ack_wait=15.0)
    assert state.broken == broken
    assert state.is_healthy is is_healthy
