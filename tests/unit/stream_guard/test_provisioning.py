"""When the streams and consumers that NATS has are sound."""

import pytest
from natscribe.schemas.workers import Problem

from app.stream_guard.differences import Difference
from app.stream_guard.provisioning import Inspection

NEEDED = Difference(of="tasks", setting="subjects", wanted="a", found="b", needed=True)
CHOSEN = Difference(of="results", setting="num_replicas", wanted="1", found="3", needed=False)
PAUSED = Problem(what="The consumer worker is paused", next_step="Resume the consumer")


@pytest.mark.parametrize(
    ("missing", "differences", "paused", "broken", "sound"),
    [
        ([], [], [], set(), True),
        ([], [CHOSEN], [], set(), True),
        (["progress"], [], [], {"progress"}, False),
        ([], [CHOSEN, NEEDED], [], {"tasks"}, False),
        (["progress"], [NEEDED], [PAUSED], {"progress", "tasks"}, False),
        ([], [], [PAUSED], set(), False),
    ],
)
def test_what_is_missing_or_lacks_a_needed_setting_is_broken(
    missing: list[str], differences: list[Difference], paused: list[Problem], broken: set[str], sound: bool
) -> None:
    findings = Inspection(missing, differences, paused, progress_stream_created_at=None, filled=[])
    assert findings.broken == broken
    assert findings.sound is sound
