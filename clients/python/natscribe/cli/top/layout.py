"""Renders the dashboard for a terminal of at least 60 columns, or prints it once for programs and logs."""

from datetime import datetime, timezone
from itertools import islice

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from natscribe.cli.console import ERROR, WARNING
from natscribe.cli.tables import QUEUE_COLUMNS, Column, Row, print_table, print_users, queue_cells, user_cells
from natscribe.cli.top.dashboard import Dashboard, Failure, Running
from natscribe.cli.wording import (
    SILENT_AFTER_S,
    clock,
    progress_text,
    shortened,
    speakers_text,
    to_the_minute,
)
from natscribe.schemas.printable import printable
from natscribe.schemas.task_queues import QueueStatus, UserLoad

WIDE = 130  # columns from which on the name of the recording is shown, too
_BAR_COLUMNS = 12  # on a wide screen
_MIN_NAME_COLUMNS = 9  # columns
_FIXED_COLUMNS = 7  # characters of a line for the space between columns
_MIN_RECORDING_COLUMNS = 14  # on a wide screen
_REASON_COLUMNS = 44  # characters of a line for the time and part of the reason of a failure
_MAX_USERS = 5  # rows
_MAX_USER_COLUMNS = 24  # columns of a user id
_MIN_ROWS = 3  # of the running tasks, and of the failures if there are as many

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
        parts.append(_queue_table(queues))
    if users:
        parts.append(_user_table(users))
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


def _table(*columns: str, expand: bool = True) -> Table:
    """Return an empty table with a column for each of these titles.

    A `>` before a title aligns the column to the right. A `*` before a title makes the column as wide as the rest of
    the line. `expand`: whether the table is as wide as the screen.
    """
    table = Table(box=None, expand=expand, padding=(0, 1, 0, 0), header_style="bold underline")
    for title in columns:
        table.add_column(
            title.lstrip(">*"),
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if title.startswith(">") else "left",
            ratio=1 if title.startswith("*") else None,
        )
    return table


def used_queues(dashboard: Dashboard) -> list[QueueStatus]:
    """Return the task queues that have tasks; if all are empty, only the first queue."""
    queues = dashboard.queue.queues
    return [queue for queue in queues if queue.waiting or queue.running] or queues[:1]


def _queue_table(queues: list[QueueStatus]) -> Table:
    table = _table("queue", "", ">waiting", ">running", ">oldest", expand=False)
    for queue in queues:
        table.add_row(*queue_cells(queue))
    return table


def _users(dashboard: Dashboard) -> list[UserLoad]:
    """Return the users with the most waiting audio; an empty list if there are fewer than two."""
    users = dashboard.queue.users
    return users if len(users) > 1 else []


def _user_table(users: list[UserLoad]) -> Table:
    table = _table("user", ">waiting", ">running", ">audio", expand=False)
    for load in users:
        user, *figures = user_cells(load)
        table.add_row(Text(shortened(printable(user), _MAX_USER_COLUMNS)), *figures)
    return table


def _running_tasks(dashboard: Dashboard) -> int:
    """Return the number of running tasks, as counted from events or reported for the queues, whichever is larger."""
    return max(len(dashboard.running), sum(queue.running for queue in dashboard.queue.queues))


def _running_table(dashboard: Dashboard, rows: int, *, width: int, now: float) -> Table:
    wide = width >= WIDE
    ids, tasks = list(islice(dashboard.running, rows)), list(islice(dashboard.running.values(), rows))
    bar_columns = _BAR_COLUMNS if wide else _BAR_COLUMNS // 2
    cells = [
        (stage_text(task, wide=wide), clock(task.duration_s or 0), _done(task), _left(task, now)) for task in tasks
    ]
    used = sum(max(map(len, column)) for column in zip(("stage", "length", "100 %", "left"), *cells, strict=True))
    used += bar_columns + _FIXED_COLUMNS + (_MIN_RECORDING_COLUMNS if wide else 0)
    id_columns, worker_columns = _shares(ids, [task.worker for task in tasks], max(width - used, 2 * _MIN_NAME_COLUMNS))
    table = _table("running", *(("*recording",) if wide else ()), "stage", ">length", "", ">", ">left", "worker")
    table.columns[0].min_width, table.columns[-1].min_width = id_columns, worker_columns
    for task_id, task, (stage, length, done, left) in zip(ids, tasks, cells, strict=True):
        table.add_row(
            Text(shortened(task_id, id_columns)),
            *((Text(task.recording),) if wide else ()),
            stage,
            length if task.duration_s else "",
            ProgressBar(
                total=100, completed=task.latest.progress, width=bar_columns, style="dim", complete_style="green"
            ),
            done,
            left,
            Text(shortened(task.worker, worker_columns)),
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


def _shares(left: list[str], right: list[str], room: int) -> tuple[int, int]:
    """Return the widths of two columns that list names; together they have at most `room` characters.

    `left`, `right`: the names in each column. Each column is as wide as its longest name. If both do not fit, a column
    that needs less than half of `room` keeps its width, and the other gets the rest; otherwise each gets half.
    """
    needs_left, needs_right = (max(map(len, names), default=0) for names in (left, right))
    needs_left, needs_right = max(needs_left, _MIN_NAME_COLUMNS), max(needs_right, _MIN_NAME_COLUMNS)
    if needs_left + needs_right <= room:
        return needs_left, needs_right
    share = min(max(room // 2, room - needs_right), needs_left)
    return share, room - share


def _left(task: Running, now: float) -> str | Text:
    age = now - task.received_at
    if age > SILENT_AFTER_S and task.worker:
        return Text("silent", style=WARNING)
    if task.latest.lag_seconds is not None:
        return f"lag {clock(task.latest.lag_seconds)}"
    return clock(max(task.latest.eta_seconds - age, 0)) if task.latest.eta_seconds is not None else ""


def _failure_table(dashboard: Dashboard, rows: int, *, width: int) -> Table:
    count = dashboard.queue.dead_letters
    table = _table("failed", "", f"*{count} dead letter{'s' * (count > 1)} stored" if count else "*")
    shown = list(islice(dashboard.failures, rows))
    max_columns = max(width - _REASON_COLUMNS, _MIN_NAME_COLUMNS)
    for failure in shown:
        local = failure.time.astimezone()
        time = f"{local:%H:%M:%S}" if _is_today(failure.time) else f"{local:%d %b}"
        style = WARNING if not failure.final else "" if failure.error.code.is_client_error else ERROR
        table.add_row(Text(time, style=style), Text(shortened(failure.task_id, max_columns)), Text(reason(failure)))
    table.columns[1].min_width = min(max((len(failure.task_id) for failure in shown), default=0), max_columns)
    return table


def reason(failure: Failure) -> str:
    """Return why an attempt of a task has failed, and whether the task will be retried."""
    return failure.reason if failure.final else f"will be retried: {failure.reason}"


def _is_today(time: datetime) -> bool:
    return time.astimezone().date() == datetime.now(timezone.utc).astimezone().date()


def print_snapshot(dashboard: Dashboard) -> None:
    """Print the task queues, the running tasks and the failures of a dashboard once, without shortening names."""
    print_table(_QUEUES, [Row(queue_cells(queue)) for queue in used_queues(dashboard)])
    print_users(_users(dashboard))
    print_table(_RUNNING, [Row(_cells(task_id, task)) for task_id, task in dashboard.running.items()])
    failures = [Row([to_the_minute(failure.time), failure.task_id], reason(failure)) for failure in dashboard.failures]
    print_table(_FAILED, failures)


def _cells(task_id: str, running: Running) -> list[str]:
    task, duration = running.latest, running.duration_s
    length, left = (clock(seconds) if seconds is not None else "" for seconds in (duration, task.eta_seconds))
    progress = progress_text(task)
    return [task_id, running.recording, stage_text(running, wide=True), progress, length, left, running.worker]
