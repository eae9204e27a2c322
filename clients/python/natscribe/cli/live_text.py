"""Shows the text of a live task: final segments with their start, and partial results in grey."""

import sys

from rich.console import Console, Group, RenderableType
from rich.live import Live as Region
from rich.text import Text
from typing_extensions import Self

from natscribe.cli.console import ERROR, err
from natscribe.cli.display import Display, Event, JsonLines, with_position
from natscribe.cli.wording import clock, describe, lag_text, printable, segment_line
from natscribe.schemas.live import Partial
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.transcription import SegmentsEvent

GREY = "color(245)"  # readable on black and on white


class LiveLines(Display):
    """Prints the segments of a live task, one per line, and the changes of the task's state."""

    def __init__(self, *, prints_text: bool) -> None:
        super().__init__()
        self._prints_text = prints_text
        self._last: ProgressEvent | None = None

    def show(self, label: str, event: Event) -> None:  # noqa: ARG002 -- there is one task
        """Show an event."""
        if isinstance(event, ProgressEvent):
            before, self._last = self._last, event
            self._show_progress(event, before)
        elif isinstance(event, Partial):
            self._show_partial(event)
        else:
            self._show_segments(event)

    def _show_segments(self, event: SegmentsEvent) -> None:
        for segment in event.segments if self._prints_text else ():
            self.shown_segments.append(segment.text)
            self._print(self.text, segment_line(segment))

    def _show_progress(self, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if event.error is not None or before is None or event.state is not before.state:
            self._print(err, describe(event), ERROR if event.error else "")

    def _show_partial(self, partial: Partial) -> None:
        """Do nothing: a partial result replaces the previous one, and printed lines cannot be replaced."""

    def _print(self, console: Console, line: str, style: str = "") -> None:
        console.print(Text(line, style), soft_wrap=not console.is_terminal)


class LiveScreen(LiveLines):
    """Prints segments above a region that is redrawn, which shows the partial results and the state of the task."""

    def __init__(self, *, prints_text: bool) -> None:
        super().__init__(prints_text=prints_text)
        if sys.stdout.isatty():
            self.text = err
        self._partials: dict[int | None, Partial] = {}
        self._message = ""
        self._region = Region(console=err, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._region.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._region.stop()

    def message(self, text: str) -> None:
        """Show `text`, which says what the command is doing, in the last line."""
        self._message = text
        self._region.refresh()

    def update_position(self, label: str, status: TaskStatus) -> None:
        """Show the current position of the task while it waits."""
        if self._last is not None:
            self.show(label, with_position(self._last, status))

    def _draw(self) -> RenderableType:
        partials = sorted(self._partials.values(), key=lambda partial: partial.start)
        last = Text(self._message + self._state(), GREY, no_wrap=True, overflow="ellipsis")
        return Group(*map(_line, partials), last)

    def _state(self) -> str:
        """Return the state or the lag of the task, as the end of a sentence.

        It is empty before the first event and after the end of the task.
        """
        event = self._last
        if event is None or event.state.ended:
            return ""
        if event.state is not State.RUNNING:
            return f", {describe(event, reason=False)}"
        return lag_text(event.lag_seconds or 0)

    def _show_segments(self, event: SegmentsEvent) -> None:
        partial = self._partials.get(event.channel)
        if partial is not None and partial.start < event.processed_seconds:
            del self._partials[event.channel]
            self._region.refresh()  # printing draws the region as it was
        super()._show_segments(event)

    def _show_progress(self, event: ProgressEvent, before: ProgressEvent | None) -> None:
        is_new = event.error is not None and (before is None or before.error != event.error)
        if is_new or event.state is State.CANCELLED:
            self._print(err, describe(event), ERROR)

    def _show_partial(self, partial: Partial) -> None:
        self._partials[partial.channel] = partial
        self._region.refresh()


def _line(partial: Partial) -> Text:
    """Format a partial result: its stable words in the colour of the terminal, the other words in grey."""
    stable, others = printable(partial.stable), printable(partial.text.removeprefix(partial.stable))
    text = Text.assemble(f"[{clock(partial.start)}] {stable}", (others, GREY), overflow="fold")
    text.no_wrap = False  # the console cuts lines otherwise, and the last words are the newest
    return text


def choose_live_display(*, as_json: bool, prints_text: bool) -> Display:
    """Choose the display of a live task.

    `as_json`: whether it prints events as JSON. `prints_text`: whether it prints segments as they are transcribed.
    """
    if as_json:
        return JsonLines()
    is_screen = err.is_terminal and not err.is_dumb_terminal
    return (LiveScreen if is_screen else LiveLines)(prints_text=prints_text)
