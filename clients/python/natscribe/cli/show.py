"""Chooses how progress is shown: as bars on a terminal, as plain lines elsewhere, or as JSON messages."""

from natscribe.cli.bars import Bars
from natscribe.cli.console import err
from natscribe.cli.display import Display, JsonLines, Lines


def choose(*, as_json: bool, segments: bool = False, tasks: int = 1) -> Display:
    """Choose the display for a number of tasks; with `segments`, it also prints the text as it is found."""
    if as_json:
        return JsonLines()
    if err.is_terminal and not err.is_dumb_terminal:
        return Bars(segments=segments, tasks=tasks)
    return Lines(segments=segments)
