"""Progress on the screen: bars where there is a terminal, plain lines elsewhere, or the wire messages."""

import sys
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from app.cli.console import err, out
from app.cli.wording import describe, segment_line
from schemas.progress import ProgressEvent
from schemas.transcription import SegmentsEvent

Event = ProgressEvent | SegmentsEvent


class Display(Protocol):
    """Shows what happens to tasks, each under its label."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, label: str, event: Event) -> None:
        """Show an event."""
        ...


def choose(*, as_json: bool, segments: bool = False) -> Display:
    """The display that suits where the output goes; `segments` are written to standard output as they are found."""
    if as_json:
        return JsonLines()
    if err.is_terminal and not err.is_dumb_terminal:
        return Bars(segments=segments)
    return Lines(segments=segments)


class _Plain:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


class JsonLines(_Plain):
    """The messages as they come over the wire, one a line, on standard output."""

    def show(self, _label: str, event: Event) -> None:
        """Write the message."""
        out.print(event.model_dump_json())


class Lines(_Plain):
    """A line for each thing that is new, and for each ten percent."""

    def __init__(self, *, segments: bool) -> None:
        self._segments = segments
        self._last: dict[str, tuple[object, ...]] = {}

    def show(self, label: str, event: Event) -> None:
        """Write a line, if there is news."""
        if isinstance(event, SegmentsEvent):
            if self._segments:
                write_segments(event, out)
            return
        news = (event.state, event.stage, event.attempt, event.queue_position, event.progress // 10)
        if self._last.get(label) != news:
            self._last[label] = news
            err.print(f"{label}: {event.progress} %, {describe(event)}")


class Bars:
    """A bar for each task, on standard error."""

    def __init__(self, *, segments: bool) -> None:
        self._segments = segments
        self._bars: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[words]}", markup=False),
            console=err,
            redirect_stdout=False,
        )
        # On a terminal the text must pass above the bars; a file or a pipe gets it untouched.
        self._text = err if sys.stdout.isatty() else out

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, label: str, event: Event) -> None:
        """Move the task's bar."""
        if isinstance(event, SegmentsEvent):
            if self._segments:
                write_segments(event, self._text)
            return
        if label not in self._bars:
            self._bars[label] = self._progress.add_task(label, total=100, words="")
        self._progress.update(self._bars[label], completed=event.progress, words=describe(event))


def write_segments(event: SegmentsEvent, console: Console) -> None:
    """Write what was found, a line a segment."""
    for segment in event.segments:
        console.print(segment_line(segment))
