"""Formats results for people as turns: who says what when."""

from rich.table import Table
from rich.text import Text

from natscribe.cli.wording import turns
from natscribe.schemas.kinds import Result

# Blue, magenta, green, orange: each is readable on black and on white.
SPEAKER_COLOURS = ("color(27)", "color(162)", "color(28)", "color(130)")


def turns_text(result: Result) -> str:
    """Return the turns of a result as text, one per line; without speakers, its segments."""
    lines = ["  ".join(filter(None, (f"{time:>7}", speaker, text))) for time, speaker, text in turns(result)]
    return "".join(f"{line}\n" for line in lines)


def turns_table(result: Result) -> Table:
    """Return a table of a result's turns for a terminal, with speakers in colours."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", min_width=len("1:02:03"), no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    colours: dict[str, str] = {}
    for time, speaker, text in turns(result):
        colour = colours.setdefault(speaker, SPEAKER_COLOURS[len(colours) % len(SPEAKER_COLOURS)])
        table.add_row(time, Text(speaker, f"bold {colour}"), Text(text))
    return table
