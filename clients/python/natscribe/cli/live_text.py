"""Displays the text of a live task: segments with their start, and partial results in grey."""

import sys

from rich.console import Group, RenderableType
from rich.live import Live as Region
from rich.text import Text
from typing_extensions import Self

from natscribe.cli.console import ERROR, err
from natscribe.cli.display import Display, JsonLines, ShownText, TextDisplay
from natscribe.cli.turns import SPEAKER_COLOURS
from natscribe.cli.wording import clock, describe, lag_text
from natscribe.client.live import Live
from natscribe.schemas.live import Partial, SpeakersEvent
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import Segment, SegmentsEvent

GREY = "color(245)"  # readable on black and on white
KEPT_SEGMENTS = 6  # in the area of the screen that can still change


class LiveLines(TextDisplay):
    """Prints each segment of a live task as a line with the speaker's name, and each change of the task's state."""

    def __init__(self, live: Live, *, shown: ShownText) -> None:
        super().__init__(shown=shown)
        self._live = live

    def _line(self, segment: Segment) -> Text:
        return Text.assemble(f"[{clock(segment.start)}] ", self._speaker(segment.speaker), segment.text.strip())

    def _speaker(self, label: str | None) -> Text:
        """Return the name of a speaker in a colour, or the label, as the start of a line; empty if it is unknown."""
        name = self._live.speakers.name(label)
        if label is None or name is None:
            return Text()
        colour = SPEAKER_COLOURS[int(label.rpartition("_")[2]) % len(SPEAKER_COLOURS)]
        return Text(f"{name}: ", f"bold {colour}")

    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None:  # noqa: ARG002 -- there is one task
        if event.error is not None or before is None or event.state is not before.state:
            _print_state(event)


class LiveScreen(LiveLines):
    """Prints the segments of a live task above an area of the screen that shows partial results and the state.

    If the task has the option `diarize`, the area also shows the last segments, because their speakers may change.
    """

    def __init__(self, live: Live, *, shown: ShownText, diarize: bool) -> None:
        super().__init__(live, shown=shown)
        self._kept = KEPT_SEGMENTS if diarize and shown is ShownText.ALL else 0
        self._printed_until: dict[int | None, float] = {}  # by channel: end of the last segment above the area
        if sys.stdout.isatty():
            self.text = err
        self._partials: dict[int | None, Partial] = {}
        self._message = ""
        self._region = Region(console=err, get_renderable=self._draw, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._region.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._print_segments(keep=0)
        self._region.stop()

    def message(self, text: str) -> None:
        """Show a message, which says what the command is doing, in the last line of the screen."""
        self._message = text
        self._region.refresh()

    def _draw(self) -> RenderableType:
        partials = sorted(self._partials.values(), key=lambda partial: partial.start)
        last = Text(self._message + self._state(), GREY, no_wrap=True, overflow="ellipsis")
        return Group(*map(self._line, self._changeable()), *map(self._partial_line, partials), last)

    def _changeable(self) -> list[Segment]:
        """Return the segments that are still in the redrawn area of the screen, because their speakers may change."""
        segments = self._live.speakers.segments if self._kept else []
        # By their middles, because another speaker may have split a segment that is printed already.
        return [part for part in segments if part.start + part.end > 2 * self._printed_until.get(part.channel, -1.0)]

    def _print_segments(self, keep: int) -> None:
        """Move all segments but the last `keep` from the redrawn area of the screen to the lines above it."""
        segments = self._changeable()
        for segment in segments[: max(len(segments) - keep, 0)]:
            self._printed_until[segment.channel] = segment.end
            self.shown_segments.append(segment.text)
            self.text.print(self._line(segment), soft_wrap=not self.text.is_terminal)

    def _state(self) -> str:
        """Return the end of the screen's last line: while the task runs, how far its text lags behind the audio.

        In other states, such as queued, the returned text names the state. It is empty if the lag is small, before the
        first event, and after the end of the task.
        """
        event = next(iter(self._last.values()), None)
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
        if self._kept:
            self._print_segments(keep=self._kept)
            self._region.refresh()
        else:
            super()._show_segments(event)

    def _show_speakers(self, event: SpeakersEvent) -> None:  # noqa: ARG002 -- the speakers of the live task have it
        self._region.refresh()

    def _show_progress(self, label: str, event: ProgressEvent, before: ProgressEvent | None) -> None:  # noqa: ARG002 -- there is one task
        is_new = event.error is not None and (before is None or before.error != event.error)
        if is_new or event.state is State.CANCELLED:
            _print_state(event)

    def _partial_line(self, partial: Partial) -> Text:
        """Format a partial result: stable words, which no longer change, in the normal colour, the others in grey."""
        others = partial.text.removeprefix(partial.stable), GREY
        parts = f"[{clock(partial.start)}] ", self._speaker(partial.speaker), partial.stable, others
        # The console would cut the lines otherwise, and the last words are the newest.
        return Text.assemble(*parts, no_wrap=False, overflow="fold")

    def _show_partial(self, partial: Partial) -> None:
        self._partials[partial.channel] = partial
        self._region.refresh()


def _print_state(event: ProgressEvent) -> None:
    style = ERROR if event.error or event.state is State.CANCELLED else ""
    err.print(Text(describe(event), style), soft_wrap=not err.is_terminal)


def choose_live_display(live: Live, *, as_json: bool, prints_text: bool, diarize: bool) -> Display:
    """Return the display for a live task: JSON lines, a screen with partial results, or plain lines.

    `as_json`: whether to print events as JSON. `prints_text`: whether to print segments as they are transcribed.
    `diarize`: whether the task has this option, so that the speakers of printed segments may change.
    """
    if as_json:
        return JsonLines()
    shown = ShownText.ALL if prints_text else ShownText.NONE
    if err.is_terminal and not err.is_dumb_terminal:
        return LiveScreen(live, shown=shown, diarize=diarize)
    return LiveLines(live, shown=shown)
