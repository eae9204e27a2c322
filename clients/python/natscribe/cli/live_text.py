"""Shows the text of a live task: what was said with its time, and what is still being said in grey."""

import sys
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live as Region
from rich.text import Text
from typing_extensions import Self

from natscribe.cli.console import ERROR, err, out
from natscribe.cli.wording import clock, describe, plain, segment_line
from natscribe.client.live import Event
from natscribe.schemas.live import Partial
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent

GREY = "color(245)"  # can be read on black and on white
_TOLD_BEHIND_S = 3.0  # an utterance that is not over yet is no lag


class LiveText:
    """Prints the segments of a live task, a line each, and says when the state of the task changes."""

    def __init__(self, *, prints_text: bool) -> None:
        self.prints_text = prints_text
        self.found = 0  # segments
        self._last: ProgressEvent | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def tell(self, words: str) -> None:
        """Say what the command does now."""
        err.print(words)

    def show(self, event: Event) -> None:
        """Show an event."""
        if isinstance(event, ProgressEvent):
            before, self._last = self._last, event
            self._show_progress(event, before)
        elif isinstance(event, Partial):
            self._show_partial(event)
        else:
            self.found += len(event.segments)
            self._show_segments(event)

    def _show_segments(self, event: SegmentsEvent) -> None:
        if self.prints_text:
            for segment in event.segments:
                self._print(out, segment_line(segment))

    def _print(self, console: Console, line: str, style: str = "") -> None:
        console.print(Text(line, style), soft_wrap=not console.is_terminal)

    def _show_progress(self, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if event.error is not None or before is None or event.state is not before.state:
            self._print(err, describe(event), ERROR if event.error else "")

    def _show_partial(self, partial: Partial) -> None:
        """Do nothing: printed lines cannot be replaced."""


class JsonEvents(LiveText):
    """Prints the messages as JSON on standard output, one a line."""

    def show(self, event: Event) -> None:
        """Print the message."""
        self.found += len(event.segments) if isinstance(event, SegmentsEvent) else 0
        out.print(event.model_dump_json())


class Screen(LiveText):
    """Prints segments above a region that is drawn again and again: partials, and what the task does."""

    def __init__(self, *, prints_text: bool) -> None:
        super().__init__(prints_text=prints_text)
        self._partials: dict[int | None, Partial] = {}
        self._words = ""
        self._region = Region(console=err, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._region.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._words = ""
        self._region.stop()

    def tell(self, words: str) -> None:
        """Say what the command does now, in the last line."""
        self._words = words
        self._region.refresh()

    def _draw(self) -> RenderableType:
        """Draw the partials and the last line."""
        partials = sorted(self._partials.values(), key=lambda partial: partial.start)
        last = ", ".join(filter(None, (self._words, self._behind())))
        return Group(*map(_line, partials), *([Text(last, GREY, no_wrap=True, overflow="ellipsis")] if last else []))

    def _behind(self) -> str:
        event = self._last
        if event is None or event.state.ended:
            return ""
        if event.state is not State.RUNNING:
            return describe(event, reason=False)
        lag = event.lag_seconds or 0
        return f"{lag:.0f} s behind" if lag >= _TOLD_BEHIND_S else ""

    def _show_segments(self, event: SegmentsEvent) -> None:
        partial = self._partials.get(event.channel)
        if partial is not None and partial.start < event.processed_seconds:
            del self._partials[event.channel]
        super()._show_segments(event)
        self._region.refresh()

    def _print(self, console: Console, line: str, style: str = "") -> None:
        """Print above the region: to standard error, too, if both are the same terminal."""
        super()._print(err if sys.stdout.isatty() else console, line, style)

    def _show_progress(self, event: ProgressEvent, before: ProgressEvent | None) -> None:
        if event.state is State.CANCELLED or (
            event.error is not None and (before is None or before.error != event.error)
        ):
            self._print(err, describe(event), ERROR)
        self._region.refresh()

    def _show_partial(self, partial: Partial) -> None:
        self._partials[partial.channel] = partial
        self._region.refresh()


def _line(partial: Partial) -> Text:
    """Write a partial: its stable words in the ink of the terminal, the others in grey."""
    stable, others = plain(partial.stable), plain(partial.text.removeprefix(partial.stable))
    return Text.assemble(f"[{clock(partial.start)}] {stable}", (others, GREY))


def choose(*, as_json: bool, prints_text: bool) -> LiveText:
    """Choose how a live task is shown."""
    if as_json:
        return JsonEvents(prints_text=prints_text)
    kind: Callable[..., LiveText] = Screen if err.is_terminal and not err.is_dumb_terminal else LiveText
    return kind(prints_text=prints_text)
