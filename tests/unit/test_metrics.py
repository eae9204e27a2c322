"""Metrics have names of one service."""

from app.telemetry.metrics import Meter

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
