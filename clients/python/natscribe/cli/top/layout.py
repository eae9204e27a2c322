"""Draws the board: what fits into the terminal, at any width from 60 columns on."""

from datetime import datetime, timezone
from itertools import islice

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from natscribe.cli.console import ERROR, WARNING
from natscribe.cli.top.dashboard import Dashboard, Failure, Running
from natscribe.cli.wording import SILENT_AFTER_S, clock, countdown, printable, seconds_until, shortened
from natscribe.schemas.task_queues import QueueStatus

WIDE = 130  # from this number of columns on, the name of the recording is shown, too
_BAR_COLUMNS = 12  # on a wide screen
_SHORTEST_NAME = 9  # columns
_FIXED_COLUMNS = 12  # characters of a line for the percents and the space between columns
_LEAST_OF_RECORDING = 14  # characters for its name, on a wide screen
_REASON_COLUMNS = 44  # characters of a line for the time and some of the reason of a failure
_FEWEST_ROWS = 3  # of the running tasks, and of the failures if there are so many


def render(board: Dashboard, place: str, *, width: int, height: int, now: float) -> RenderableType:
    """Draw the board on `height` lines of `width` columns; `place` is the address of NATS, `now` monotonic seconds."""
    troubles = [Text(printable(sentence), style=WARNING) for sentence in dict.fromkeys(board.troubles.values())]
    head = [_headline(board, place), *map(_one_line, troubles)]
    queues = used_queues(board)
    left = max(height - len(head) - len(queues) - 3, 2 * _FEWEST_ROWS)  # three lines are titles
    failed = min(len(board.failures), max(_FEWEST_ROWS, left // 4, left - len(board.running) - 1))
    shown = min(len(board.running), left - failed - 1)
    parts: list[RenderableType] = [*head]
    if queues:
        parts.append(_queue_table(queues))
    parts.append(_running_table(board, shown, width=width, now=now))
    more = _running_tasks(board) - shown
    if more > 0:
        parts.append(Text(f"and {more} more that run" if shown else f"{more} run", style="dim"))
    if failed or (board.queue is not None and board.queue.dead_letters):
        parts.append(_failure_table(board, failed, width=width))
    return Group(*parts)


def _headline(board: Dashboard, place: str) -> Text:
    counts = [f"{count} {state}" for state, count in board.ended.items()]
    return _one_line(
        Text.assemble((place, "bold"), f"  ended since {board.since.astimezone():%H:%M}: {', '.join(counts) or 'none'}")
    )


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _table(*columns: str, expand: bool = True) -> Table:
    """Make a table with a column for each title; `>` before a title aligns to the right, `*` lets the column grow."""
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


def used_queues(board: Dashboard) -> list[QueueStatus]:
    """Return the task queues that have tasks; the first one, if none has."""
    overview = board.queue
    if overview is None:
        return []
    return [queue for queue in overview.queues if queue.waiting or queue.running] or overview.queues[:1]


def _queue_table(queues: list[QueueStatus]) -> Table:
    table = _table("queue", "", ">waiting", ">running", ">oldest", ">last starts", expand=False)
    for queue in queues:
        table.add_row(*queue_cells(queue))
    return table


def queue_cells(queue: QueueStatus) -> list[str]:
    """Return priority and content of a queue, how many tasks wait and run, the oldest's age, the last one's start."""
    oldest = clock(max(-seconds_until(queue.oldest), 0)) if queue.oldest else ""
    last = countdown(queue.newest_start)
    return [queue.priority, queue.queue, str(queue.waiting), str(queue.running), oldest, last]


def _running_tasks(board: Dashboard) -> int:
    """Return how many tasks run: as the board knows or as the queues count, whichever are more."""
    counted = sum(queue.running for queue in board.queue.queues) if board.queue is not None else 0
    return max(len(board.running), counted)


def _running_table(board: Dashboard, rows: int, *, width: int, now: float) -> Table:
    wide, shown = width >= WIDE, list(islice(board.running.items(), rows))
    bar_columns = _BAR_COLUMNS if wide else _BAR_COLUMNS // 2
    cells = [(_stage(task, wide=wide), clock(task.duration_s or 0), _left(task, now)) for _, task in shown]
    titles = ("stage", "length", "left")
    taken = sum(max(map(len, column)) for column in zip(titles, *cells, strict=True)) + bar_columns + _FIXED_COLUMNS
    room = max(width - taken - (_LEAST_OF_RECORDING if wide else 0), 2 * _SHORTEST_NAME)
    ids, workers = _shares([name for name, _ in shown], [task.worker for _, task in shown], room)
    table = _table("running", *(("*recording",) if wide else ()), "stage", ">length", "", ">", ">left", "worker")
    table.columns[0].min_width, table.columns[-1].min_width = ids, workers
    for (task_id, task), (stage, length, left) in zip(shown, cells, strict=True):
        table.add_row(
            Text(shortened(task_id, ids)),
            *((Text(task.recording),) if wide else ()),
            stage,
            length if task.duration_s else "",
            ProgressBar(total=100, completed=task.progress, width=bar_columns, style="dim", complete_style="green"),
            f"{task.progress} %" if task.lag_s is None else "live",
            left,
            Text(shortened(task.worker, workers)),
        )
    return table


def _stage(task: Running, *, wide: bool) -> str:
    return str(task.stage or "running") + (f", attempt {task.attempt}" if wide and task.attempt > 1 else "")


def _shares(left: list[str], right: list[str], room: int) -> tuple[int, int]:
    """Share the room between two columns of names: none has more than it needs while the other one lacks some."""
    needs_left, needs_right = (max(map(len, names), default=0) for names in (left, right))
    needs_left, needs_right = max(needs_left, _SHORTEST_NAME), max(needs_right, _SHORTEST_NAME)
    if needs_left + needs_right <= room:
        return needs_left, needs_right
    share = min(max(room // 2, room - needs_right), needs_left)
    return share, room - share


def _left(task: Running, now: float) -> str | Text:
    age = now - task.received_at
    if age > SILENT_AFTER_S and task.worker:
        return Text("silent", style=WARNING)
    if task.lag_s is not None:
        return f"lag {clock(task.lag_s)}"
    return clock(max(task.eta_s - age, 0)) if task.eta_s is not None else ""


def _failure_table(board: Dashboard, rows: int, *, width: int) -> Table:
    letters = board.queue.dead_letters if board.queue is not None else 0
    table = _table("failed", "", f"*{letters} dead letter{'s' * (letters > 1)} kept" if letters else "*")
    shown = list(islice(board.failures, rows))
    longest = max(width - _REASON_COLUMNS, _SHORTEST_NAME)
    for failure in shown:
        local = failure.time.astimezone()
        time = f"{local:%H:%M:%S}" if _is_today(failure.time) else f"{local:%d %b}"
        style = ERROR if failure.final else WARNING
        table.add_row(Text(time, style=style), Text(shortened(failure.task_id, longest)), Text(reason(failure)))
    table.columns[1].min_width = min(max((len(failure.task_id) for failure in shown), default=0), longest)
    return table


def reason(failure: Failure) -> str:
    """Say why an attempt has failed, and whether another one follows."""
    return failure.reason if failure.final else f"will be tried again: {failure.reason}"


def _is_today(time: datetime) -> bool:
    return time.astimezone().date() == datetime.now(timezone.utc).astimezone().date()
