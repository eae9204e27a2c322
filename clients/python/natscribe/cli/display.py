"""Shows the progress of tasks: the base of all displays, JSON messages, and plain lines where there is no terminal."""

from abc import ABC, abstractmethod
from enum import Enum

from typing_extensions import Self

from natscribe.cli.console import WARNING, err, out, print_above
from natscribe.cli.wording import describe, segment_line
from natscribe.schemas.live import Partial
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.transcription import SegmentsEvent

Event = ProgressEvent | SegmentsEvent | Partial


class ShownText(Enum):
    """How much of a task's text is shown while the task runs."""

    NOTHING = "nothing"
    LAST = "the last segment, beside the progress, because the result will have the text"
    MIXED = "all text, except that of separate channels: of those the result has the text in order of time"
    TEXT = "all text"


class Display:
    """Shows what happens to tasks, each under its label; this base of all displays shows only warnings."""

    def __init__(self) -> None:
        self.text = out  # prints text and results: on a terminal they must not cut through the bars
        self.found: list[str] = []  # the text that was printed as it was found
        self._warnings: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def upload(self, label: str, sent: int, size: int) -> None:
        """Show how many bytes of a recording are uploaded; may be called in any thread."""

    def begin(self, label: str, task_id: str) -> None:
        """Show the id of a task."""

    def show(self, label: str, event: Event) -> None:
        """Show an event."""

    def tell(self, words: str) -> None:
        """Show what the command does now."""
        err.print(words)

    def position(self, label: str, status: TaskStatus) -> None:
        """Show the current position of a waiting task."""

    def warn(self, label: str, warning: str) -> None:
        """Print a warning, unless it was printed for another task before."""
        if warning not in self._warnings:
            self._warnings.add(warning)
            print_above(f"{label} {warning}", WARNING)

    def end(self, label: str, *, failed: bool) -> None:
        """Count a recording as ended: it is done or has failed."""


class JsonLines(Display):
    """Prints the events as JSON on standard output, one a line."""

    def show(self, label: str, event: Event) -> None:  # noqa: ARG002 -- the message names its task
        """Print the event."""
        self.text.print(event.model_dump_json())


class TextDisplay(Display, ABC):
    """Shows text when it is found, and describes the last event of each task in words."""

    def __init__(self, *, live: ShownText) -> None:
        super().__init__()
        self._live = live
        self._last: dict[str, ProgressEvent] = {}

    def show(self, label: str, event: Event) -> None:
        """Print new text, or show the progress of the task."""
        if isinstance(event, Partial):
            return
        if isinstance(event, ProgressEvent):
            before, self._last[label] = self._last.get(label), event
            self._show_progress(label, event, before)
        elif self._live is ShownText.TEXT or (self._live is ShownText.MIXED and event.channel is None):
            for segment in event.segments:
                self.found.append(segment.text)
                self.text.print(segment_line(segment), soft_wrap=not self.text.is_terminal)
        elif self._live is not ShownText.NOTHING and event.segments:
            self._show_last(segment_line(event.segments[-1]))

    def position(self, label: str, status: TaskStatus) -> None:
        """Show the last event of the task with its new position."""
        last = self._last.get(label)
        if last is not None:
            now = {"queue_position": status.queue_position, "expected_start": status.expected_start}
            self.show(label, last.model_copy(update=now))

    def _show_last(self, line: str) -> None:
        """Show the newest segment in place of the one before; do nothing where printed lines cannot be replaced."""

    @abstractmethod
    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None: ...


class PlainLines(TextDisplay):
    """Prints a line for each change of state, stage, attempt or position, ten percent, or minute of live sound."""

    def begin(self, label: str, task_id: str) -> None:
        """Print the id of a task."""
        err.print(f"{label} is task {task_id}")

    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if before is None or _shown(event) != _shown(before):
            percent = "" if event.lag_seconds is not None else f"{event.progress} %, "  # of live sound nobody knows it
            err.print(f"{label}: {percent}{describe(event)}")


def _shown(event: ProgressEvent) -> tuple[object, ...]:
    minutes = 0 if event.lag_seconds is None else (event.processed_seconds or 0) // 60  # live: nobody knows percents
    return event.state, event.stage, event.attempt, event.queue_position, event.progress // 10, minutes
