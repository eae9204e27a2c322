"""Renders the dashboard for a terminal of at least 60 columns."""

from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from natscribe.cli.console import ERROR, WARNING
from natscribe.cli.tables import (
    QUEUE_COLUMNS,
    TITLES,
    USER_COLUMNS,
    new_table,
    queue_cells,
    user_cells,
)
from natscribe.cli.top.dashboard import Dashboard, Failure, Running
from natscribe.cli.wording import (
    SILENT_AFTER_S,
    clock,
    shortened,
    speakers_text,
)
from natscribe.schemas.printable import printable
from natscribe.schemas.task_queues import QueueStatus, UserLoad

WIDE = 130  # columns from which on the name of the recording is shown, too
_BAR_COLUMNS = 12  # on a wide screen
_MIN_NAME_COLUMNS = 9  # columns
_REASON_COLUMNS = 44  # characters of a line for the time and part of the reason of a failure
_MAX_USERS = 5  # rows
_MIN_ROWS = 3  # of the running tasks, and of the failures if there are as many


@dataclass(frozen=True)
class _Name:
    """A name that is shortened in the middle, as far as it has to be: names often differ only at their end."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shortened(self.text, options.max_width))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_MIN_NAME_COLUMNS, len(self.text)), len(self.text))


def render(dashboard: Dashboard, address: str, *, width: int, height: int, now: float) -> RenderableType:
    """Render the dashboard in `width` columns and `height` lines.

    `address`: the address of NATS, for the heading. `now`: the time in monotonic seconds.
    """
    problems = [_problem(sentence) for sentence in dict.fromkeys(dashboard.problems.values())]
    head = [_headline(dashboard, address), *problems]
    queues, users = used_queues(dashboard), _users(dashboard)[:_MAX_USERS]
    titles = 3 + bool(users)
    left = max(height - len(head) - len(queues) - len(users) - titles, 2 * _MIN_ROWS)
    failed = min(len(dashboard.failures), max(_MIN_ROWS, left // 4, left - len(dashboard.running) - 1))
    shown = min(len(dashboard.running), left - failed - 1)
    parts: list[RenderableType] = [*head]
    if queues:
        parts.append(new_table(QUEUE_COLUMNS, map(queue_cells, queues)))
    if users:
        parts.append(new_table(USER_COLUMNS, map(user_cells, users)))
    parts.append(_running_table(dashboard, shown, width=width, now=now))
    more = _running_tasks(dashboard) - shown
    if more > 0:
        parts.append(Text(f"and {more} more running" if shown else f"{more} running", style="dim"))
    if failed or dashboard.queue.dead_letters:
        parts.append(_failure_table(dashboard, failed, width=width))
    return Group(*parts)


def _headline(dashboard: Dashboard, address: str) -> Text:
    counts = ", ".join(f"{count} {state}" for state, count in dashboard.ended.items()) or "none"
    ended = f"  ended since {dashboard.since.astimezone():%H:%M}: {counts}"
    return Text.assemble((address, "bold"), ended, no_wrap=True, overflow="ellipsis")


def _problem(sentence: str) -> Text:
    return Text(printable(sentence), WARNING, no_wrap=True, overflow="ellipsis")


def used_queues(dashboard: Dashboard) -> list[QueueStatus]:
    """Return the task queues that have tasks; if all are empty, only the first queue."""
    queues = dashboard.queue.queues
    return [queue for queue in queues if queue.waiting or queue.running] or queues[:1]


def _users(dashboard: Dashboard) -> list[UserLoad]:
    """Return the users with the most waiting audio; an empty list if there are fewer than two."""
    users = dashboard.queue.users
    return users if len(users) > 1 else []


def _running_tasks(dashboard: Dashboard) -> int:
    """Return the number of running tasks, as counted from events or reported for the queues, whichever is larger."""
    return max(len(dashboard.running), sum(queue.running for queue in dashboard.queue.queues))


def _running_table(dashboard: Dashboard, rows: int, *, width: int, now: float) -> Table:
    wide = width >= WIDE
    bar_columns = _BAR_COLUMNS if wide else _BAR_COLUMNS // 2
    table = Table(box=None, padding=(0, 1, 0, 0), header_style=TITLES)
    for title in ("running", *(("recording",) if wide else ())):
        table.add_column(title)
    for title in ("stage", "length", "", "", "left"):
        table.add_column(title, no_wrap=True, justify="left" if title == "stage" else "right")
    table.add_column("worker")
    for task_id, task in islice(dashboard.running.items(), rows):
        table.add_row(
            _Name(task_id),
            *((_Name(task.recording),) if wide else ()),
            stage_text(task, wide=wide),
            clock(task.duration_s) if task.duration_s else "",
            ProgressBar(
                total=100, completed=task.latest.progress, width=bar_columns, style="dim", complete_style="green"
            ),
            _done(task),
            _left(task, now),
            _Name(task.worker),
        )
    return table


def stage_text(task: Running, *, wide: bool) -> str:
    """Describe the stage of a running task; `wide`: whether there is room for the number of its attempt."""
    attempt = f", attempt {task.latest.attempt}" if wide and task.latest.attempt > 1 else ""
    return f"{task.latest.stage or 'running'}{attempt}"


def _done(task: Running) -> str:
    if task.latest.lag_seconds is None:
        return f"{task.latest.progress} %"
    return speakers_text(task.latest.speakers) or "live"


def _left(task: Running, now: float) -> str | Text:
    age = now - task.received_at
    if age > SILENT_AFTER_S and task.worker:
        return Text("silent", style=WARNING)
    if task.latest.lag_seconds is not None:
        return f"lag {clock(task.latest.lag_seconds)}"
    return clock(max(task.latest.eta_seconds - age, 0)) if task.latest.eta_seconds is not None else ""


def _failure_table(dashboard: Dashboard, rows: int, *, width: int) -> Table:
    count = dashboard.queue.dead_letters
    table = Table(box=None, padding=(0, 1, 0, 0), header_style=TITLES, expand=True)
    table.add_column("failed", no_wrap=True)
    table.add_column(max_width=max(width - _REASON_COLUMNS, _MIN_NAME_COLUMNS))
    letters = f"{count} dead letter{'s' * (count > 1)} stored" if count else ""
    table.add_column(letters, ratio=1, no_wrap=True, overflow="ellipsis")
    for failure in islice(dashboard.failures, rows):
        local = failure.time.astimezone()
        time = f"{local:%H:%M:%S}" if _is_today(failure.time) else f"{local:%d %b}"
        style = WARNING if not failure.final else "" if failure.error.code.is_client_error else ERROR
        table.add_row(Text(time, style=style), _Name(failure.task_id), Text(reason(failure)))
    return table


def reason(failure: Failure) -> str:
    """Return why an attempt of a task has failed, and whether the task will be retried."""
    return failure.reason if failure.final else f"will be retried: {failure.reason}"


def _is_today(time: datetime) -> bool:
    return time.astimezone().date() == datetime.now(timezone.utc).astimezone().date()
