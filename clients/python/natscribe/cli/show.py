"""Chooses how progress is shown: as bars on a terminal, as plain lines elsewhere, or as JSON messages."""

from natscribe.cli.bars import ProgressBars
from natscribe.cli.console import err
from natscribe.cli.display import Display, JsonLines, PlainLines, ShownText


def choose_display(*, as_json: bool, shown: ShownText = ShownText.NONE, tasks: int = 1) -> Display:
    """Choose the display of a command that follows `tasks` tasks.

    `as_json`: whether it prints events as JSON. `shown`: how much text it shows while a task runs.
    """
    if as_json:
        return JsonLines()
    if err.is_terminal and not err.is_dumb_terminal:
        return ProgressBars(shown=shown, tasks=tasks)
    return PlainLines(shown=shown)
