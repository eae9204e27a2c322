"""Displays for the progress of tasks: the base class, JSON lines for programs, and plain lines without a terminal."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from rich.text import Text

from natscribe.cli.console import WARNING, err, out, print_above
from natscribe.cli.wording import describe, segment_line
from natscribe.schemas.live import Partial, SpeakersEvent, TurnEvent
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.transcription import Segment, SegmentsEvent

_FAIR = 0.2  # estimates agree if they differ by at most this share of the time that is left
Event = ProgressEvent | SegmentsEvent | SpeakersEvent | Partial | TurnEvent


class ShownText(Enum):
    """How much of a task's text a display shows while the task runs."""

    NONE = "none"
    LAST_SEGMENT = "the last segment, beside the progress, because the result will have the text"
    MIXED_CHANNELS = "all text, except that of separate channels, which the result has in order of time"
    ALL = "all text"


@dataclass
class _Estimate:
    """When an attempt will end, as estimated at this progress; `is_fair`: whether two estimates have agreed."""

    attempt: int
    progress: int = -1
    end: datetime | None = None
    is_fair: bool = False

    def update(self, event: ProgressEvent) -> None:
        """Compare the estimate of an event with the last one; without progress, it is the same estimate."""
        if event.eta_seconds is None or event.progress <= self.progress:
            return
        end = event.time + timedelta(seconds=event.eta_seconds)
        if self.end is not None and abs((end - self.end).total_seconds()) <= _FAIR * event.eta_seconds:
            self.is_fair = True
        self.progress, self.end = event.progress, end


class Display(AbstractContextManager["Display"]):
    """Base class of the displays, which show the progress of tasks; this class itself shows only messages and warnings.

    `label`, in the methods: the name of the recording, or other audio, of one task.
    """

    def __init__(self) -> None:
        self.text = out  # prints text and results: on a terminal they must not cut through the bars
        self.shown_segments: list[str] = []  # the text that was printed while its task ran
        self._warnings: set[str] = set()

    def __exit__(self, *_: object) -> None:
        return

    def upload(self, label: str, sent: int, size: int) -> None:
        """Show that `sent` of `size` bytes of a recording have been uploaded; may be called in any thread."""

    def task_created(self, label: str, task_id: str) -> None:
        """Show the id of a task that was just submitted."""

    def show(self, label: str, event: Event) -> None:
        """Show an event, or a partial result, of the task with this label."""

    def message(self, text: str) -> None:
        """Print a message that says what the command is doing."""
        err.print(text)

    def update_position(self, label: str, status: TaskStatus) -> None:
        """Show the position in the queue that `status`, the newest status of a waiting task, contains."""

    def warn(self, label: str, warning: str) -> None:
        """Print a warning about a task, unless the same warning was already printed for this or another task."""
        if warning not in self._warnings:
            self._warnings.add(warning)
            print_above(f"{label} {warning}", WARNING)

    def end(self, label: str, *, failed: bool) -> None:
        """Show that the task of a recording has ended; `failed`: whether it has failed."""


class JsonLines(Display):
    """Prints each event as a line of JSON on standard output."""

    def show(self, label: str, event: Event) -> None:  # noqa: ARG002 -- the message names its task
        """Print an event as JSON."""
        self.text.print_data(event.model_dump_json())


class TextDisplay(Display, ABC):
    """Base class of displays for people: prints text as it is transcribed, and describes progress in words.

    With several tasks, positions in the queue are not shown: found at different times, they contradict each other.
    """

    def __init__(self, *, shown: ShownText, tasks: int = 1) -> None:
        super().__init__()
        self._shown = shown
        self._tasks = tasks
        self._last: dict[str, ProgressEvent] = {}
        self._estimates: dict[str, _Estimate] = {}

    def show(self, label: str, event: Event) -> None:
        """Print the new text of the task, or update the display of its progress."""
        if isinstance(event, ProgressEvent):
            event = event.model_copy(update=self._hidden(label, event))
            before, self._last[label] = self._last.get(label), event
            self._show_progress(label, event, before)
        elif isinstance(event, Partial):
            self._show_partial(event)
        elif isinstance(event, SpeakersEvent):
            self._show_speakers(event)
        elif isinstance(event, SegmentsEvent):
            self._show_segments(event)

    def _hidden(self, label: str, event: ProgressEvent) -> dict[str, None]:
        """Return the fields of an event that are not shown, as None: positions of several tasks, first estimates."""
        estimate = self._estimates.get(label)
        if estimate is None or estimate.attempt != event.attempt:
            estimate = self._estimates[label] = _Estimate(event.attempt)
        estimate.update(event)
        positions = ("queue_position", "seconds_ahead") if self._tasks > 1 else ()
        return dict.fromkeys((*positions, *(() if estimate.is_fair else ("eta_seconds",))))

    def _show_segments(self, event: SegmentsEvent) -> None:
        if self._shown is ShownText.ALL or (self._shown is ShownText.MIXED_CHANNELS and event.channel is None):
            for segment in event.segments:
                self.shown_segments.append(segment.text)
                self.text.print(self._line(segment), soft_wrap=not self.text.is_terminal)
        elif self._shown is not ShownText.NONE and event.segments:
            self._show_last_segment(segment_line(event.segments[-1]))

    def _line(self, segment: Segment) -> str | Text:
        """Format a segment as a line of text."""
        return segment_line(segment)

    def update_position(self, label: str, status: TaskStatus) -> None:
        """Show the last event of the task with this label again, with the position in `status`.

        Do nothing if the task has no event yet.
        """
        if (last := self._last.get(label)) is not None:
            position = {"queue_position": status.queue_position, "seconds_ahead": status.seconds_ahead}
            self.show(label, last.model_copy(update=position))

    def _show_partial(self, partial: Partial) -> None:
        """Do nothing: only displays that can replace text on the screen show partial results, and override this."""

    def _show_speakers(self, event: SpeakersEvent) -> None:
        """Do nothing: only displays of live tasks show changes of speakers, and override this."""

    def _show_last_segment(self, line: str) -> None:
        """Do nothing: only displays that can replace text on the screen show the newest segment, and override this."""

    @abstractmethod
    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None: ...


class PlainLines(TextDisplay):
    """Prints a line when the state, stage, attempt or queue position of a task changes.

    It also prints a line for every ten percent of progress, or for every minute of live audio.
    """

    def task_created(self, label: str, task_id: str) -> None:
        """Print the id of a task that was just submitted."""
        err.print(f"{label} is task {task_id}")

    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if before is None or _milestone(event) != _milestone(before):
            has_percentage = event.progress and event.lag_seconds is None  # live audio has none
            err.print(f"{label}: {f'{event.progress} %, ' if has_percentage else ''}{describe(event)}")


def _milestone(event: ProgressEvent) -> tuple[object, ...]:
    minutes = 0 if event.lag_seconds is None else (event.processed_seconds or 0) // 60  # live audio has no percentage
    return event.state, event.stage, event.attempt, event.queue_position, event.progress // 10, minutes
