"""Prints the dashboard once, for programs and logs, without shortening names."""

from rich.console import Console

from natscribe.cli.tables import QUEUE_COLUMNS, Column, Row, print_table
from natscribe.cli.top.dashboard import Dashboard, Running
from natscribe.cli.top.layout import queue_cells, reason, stage_text, used_queues
from natscribe.cli.wording import clock, progress_text, to_the_minute

_QUEUES = Column("queue", named=True), *QUEUE_COLUMNS[1:]
_RUNNING = (
    Column("running", named=True),
    Column("recording"),
    Column("stage"),
    Column("", right=True),
    Column("length", right=True, named=True),
    Column("left", right=True, named=True),
    Column("worker", named=True),
)
_FAILED = Column("failed", named=True), Column("task")


def print_snapshot(console: Console, dashboard: Dashboard) -> None:
    """Print the task queues, the running tasks and the failures of a dashboard."""
    print_table(console, _QUEUES, [Row(queue_cells(queue)) for queue in used_queues(dashboard)])
    if dashboard.running:
        print_table(console, _RUNNING, [Row(_cells(task_id, task)) for task_id, task in dashboard.running.items()])
    if dashboard.failures:
        failures = [
            Row([to_the_minute(failure.time), failure.task_id], reason(failure)) for failure in dashboard.failures
        ]
        print_table(console, _FAILED, failures)


def _cells(task_id: str, running: Running) -> list[str]:
    task, duration = running.latest, running.duration_s
    length, left = (clock(seconds) if seconds is not None else "" for seconds in (duration, task.eta_seconds))
    progress = progress_text(task.progress, task.lag_seconds)
    return [task_id, running.recording, stage_text(running, wide=True), progress, length, left, running.worker]
