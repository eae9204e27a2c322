"""Displays the progress of tasks as bars on a terminal."""

import sys
import time
from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text
from typing_extensions import Self

from natscribe.cli.console import ERROR, err, print_above
from natscribe.cli.display import Display, JsonLines, PlainLines, ShownText, TextDisplay
from natscribe.cli.wording import describe, shortened
from natscribe.schemas.printable import printable
from natscribe.schemas.progress import ProgressEvent

MAX_LABEL_COLUMNS = 24  # columns on the screen; a longer label is shortened
MAX_ROWS = 8  # at most; if there are more tasks, only the active ones have a row


class ProgressBars(TextDisplay):
    """Displays a progress bar for each task on standard error, and prints text and errors above the bars.

    With several tasks, the bar of a task disappears when the task ends, and a last row counts the ended tasks.
    """

    def __init__(self, *, shown: ShownText, tasks: int = 1) -> None:
        super().__init__(shown=shown, tasks=tasks)
        self._ended: set[str] = set()
        self._failed = 0
        self._bars: dict[str, TaskID] = {}
        self._rows = _Rows(tasks)
        if sys.stdout.isatty():
            self.text = err

    def __enter__(self) -> Self:
        self._rows.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.stop()

    def task_created(self, label: str, task_id: str) -> None:
        """Print the id of the task if the command follows only this one: many ids would fill the screen."""
        if self._tasks == 1:
            err.print(f"{label} is task {task_id}")

    def upload(self, label: str, sent: int, size: int) -> None:
        """Show on the bar of the recording `label` that `sent` of its `size` bytes have been uploaded."""
        if label not in self._ended:
            description = f"uploading, {decimal(sent)} of {decimal(size)}"
            self._update(label, 100 * sent / max(size, 1), lambda: description, is_active=True)

    def end(self, label: str, *, failed: bool) -> None:
        """Count the task of the recording `label` as ended, and remove its bar if the command follows several tasks.

        `failed`: whether the task has failed.
        """
        self._ended.add(label)
        self._rows.last_segment = ""
        self._failed += failed
        if self._tasks > 1:
            if label in self._bars:
                self._rows.remove_task(self._bars.pop(label))
            self._rows.count(len(self._ended), self._failed)

    def _show_last_segment(self, line: str) -> None:
        self._rows.last_segment = printable(line)

    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if event.error is not None and (before is None or before.error != event.error):
            print_above(f"{label}: {describe(event)}", ERROR)
        received_at = time.monotonic()

        def description() -> str:
            return describe(event, age=time.monotonic() - received_at, reason=False)

        self._update(label, event.progress, description, is_active=not event.state.waits)

    def _update(self, label: str, percent: float, description: Callable[[], str], *, is_active: bool) -> None:
        if label not in self._bars:
            self._bars[label] = self._rows.add_task(
                shortened(label, MAX_LABEL_COLUMNS), text=description, is_active=is_active, visible=False
            )
        self._rows.update(self._bars[label], completed=percent, text=description, is_active=is_active, visible=True)


class _Rows(Progress):
    """The rows of the progress bars: one for each visible task; if there are several, a last one counts ended tasks."""

    def __init__(self, tasks: int) -> None:
        self._total_tasks = tasks
        self.last_segment = ""  # shown in a line below
        self._all: TaskID | None = None
        super().__init__(
            TextColumn("{task.description}", markup=False, table_column=_one_line(max_width=MAX_LABEL_COLUMNS)),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            _DescriptionColumn(table_column=_one_line()),
            console=err,
            redirect_stdout=False,
        )
        if tasks > 1:
            self._all = self.add_task(f"all {tasks} files", total=tasks, text=lambda: "0 done", is_active=True)

    def count(self, ended: int, failed: int) -> None:
        """Update the last row: how many tasks have ended, and how many of these have failed."""
        if self._all is not None:
            description = f"{ended - failed} done" + (f", {failed} failed" if failed else "")
            self.update(self._all, completed=ended, text=lambda: description)

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yield the table of the rows that fit on the screen, and below it the newest segment of the transcript."""
        rows = [task for task in self.tasks if task.id != self._all]
        if self._total_tasks > MAX_ROWS:
            rows = [task for task in rows if task.fields["is_active"]][:MAX_ROWS]
        room = max(0, err.height - 2)
        yield self.make_tasks_table(rows[:room] + [task for task in self.tasks if task.id == self._all])
        if self.last_segment:
            yield Text(self.last_segment, no_wrap=True, overflow="ellipsis")


class _DescriptionColumn(ProgressColumn):
    """The column that describes the progress of each task in words.

    Each redraw computes the text again, because it depends on the age of the task's last event.
    """

    def render(self, task: Task) -> Text:
        description: Callable[[], str] = task.fields["text"]
        return Text(description())


def _one_line(max_width: int | None = None) -> Column:
    return Column(no_wrap=True, overflow="ellipsis", max_width=max_width)


def choose_display(*, as_json: bool, shown: ShownText = ShownText.NONE, tasks: int = 1) -> Display:
    """Return the display for a command that follows `tasks` tasks: JSON, progress bars or plain lines.

    `as_json`: whether to print events as JSON. `shown`: how much text to show while a task runs.
    """
    if as_json:
        return JsonLines()
    if err.is_terminal and not err.is_dumb_terminal:
        return ProgressBars(shown=shown, tasks=tasks)
    return PlainLines(shown=shown, tasks=tasks)
