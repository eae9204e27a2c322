"""Shows progress: as bars on a terminal, as plain lines elsewhere, or as JSON messages."""

import sys
import time
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Protocol

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text
from typing_extensions import Self

from natscribe.cli.console import err, out
from natscribe.cli.wording import describe, segment_line
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.transcription import SegmentsEvent

Event = ProgressEvent | SegmentsEvent
LONGEST_LABEL = 24  # columns on the screen; a longer label is shortened


class Display(Protocol):
    """Shows events of tasks, each under the label of its task."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, label: str, event: Event) -> None:
        """Show an event."""
        ...

    def position(self, label: str, status: TaskStatus) -> None:
        """Show the current position of a waiting task."""
        ...


def choose(*, as_json: bool, segments: bool = False) -> Display:
    """Choose the display for this output; with `segments`, the display also prints the text as it is found."""
    if as_json:
        return JsonLines()
    if err.is_terminal and not err.is_dumb_terminal:
        return Bars(segments=segments)
    return Lines(segments=segments)


class JsonLines:
    """Prints the messages as JSON on standard output, one a line."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, _label: str, event: Event) -> None:
        """Print the message."""
        out.print(event.model_dump_json())

    def position(self, label: str, status: TaskStatus) -> None:
        """Print nothing: a position is not a message."""


class _ForPeople(ABC):
    """Prints the text, and describes the last event of each task in words."""

    def __init__(self, *, segments: bool) -> None:
        self._segments = segments
        self._last: dict[str, ProgressEvent] = {}
        self._text = out

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def show(self, label: str, event: Event) -> None:
        """Print new text, or show the progress of the task."""
        if isinstance(event, ProgressEvent):
            before, self._last[label] = self._last.get(label), event
            self._show_progress(label, event, before)
        elif self._segments:
            for segment in event.segments:
                self._text.print(segment_line(segment))

    def position(self, label: str, status: TaskStatus) -> None:
        """Show the last event of the task with its new position."""
        last = self._last.get(label)
        if last is not None:
            now = {"queue_position": status.queue_position, "expected_start": status.expected_start}
            self.show(label, last.model_copy(update=now))

    @abstractmethod
    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None: ...


class Lines(_ForPeople):
    """Prints a line for each change of state, stage, attempt or position, and for each ten percent."""

    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if before is None or _shown(event) != _shown(before):
            err.print(f"{label}: {event.progress} %, {describe(event)}")


class Bars(_ForPeople):
    """Shows a bar for each task on standard error, and prints errors above the bars."""

    def __init__(self, *, segments: bool) -> None:
        super().__init__(segments=segments)
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=_one_line(max_width=LONGEST_LABEL)),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            _LastEvent(),
            console=err,
            redirect_stdout=False,
        )
        # The text goes to standard output, except on a terminal: there it is printed above the bars.
        self._text = err if sys.stdout.isatty() else out

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if label not in self._bars:
            self._bars[label] = self._progress.add_task(shortened(label), total=100, event=event, received_at=0.0)
        if event.error is not None and (before is None or before.error != event.error):
            err.print(Text(f"{label}: {describe(event)}", "red"))  # with `style=`, print() would colour the bars
        self._progress.update(self._bars[label], completed=event.progress, event=event, received_at=time.monotonic())


def shortened(label: str) -> str:
    """Cut the middle out of a label that is too long: names in one folder often start alike."""
    if len(label) <= LONGEST_LABEL:
        return label
    half = (LONGEST_LABEL - 1) // 2
    return f"{label[:half]}…{label[-half:]}"


class _LastEvent(ProgressColumn):
    """Shows the last event in a few words, and counts the remaining time down."""

    def __init__(self) -> None:
        super().__init__(table_column=_one_line())

    def render(self, task: Task) -> Text:
        event: ProgressEvent = task.fields["event"]
        return Text(describe(event, age=time.monotonic() - task.fields["received_at"], reason=False))


def _one_line(max_width: int | None = None) -> Column:
    return Column(no_wrap=True, overflow="ellipsis", max_width=max_width)


def _shown(event: ProgressEvent) -> tuple[object, ...]:
    return event.state, event.stage, event.attempt, event.queue_position, event.progress // 10
