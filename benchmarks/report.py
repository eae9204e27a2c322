"""Results: tables, and the figures for README."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NOT_MEASURED = "-"
WIDTH = 120  # of a line of the documents


@dataclass(frozen=True)
class Table:
    """One table; the first column names what the row is about."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        """The table as Markdown, which is easy to read in a terminal, too."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [_line(self.columns, widths), _line(["-" * width for width in widths], widths)]
        lines += [_line(row, widths) for row in self.rows]
        notes = [wrapped(f"- {note}") for note in self.notes]
        return "\n".join([f"### {self.title}", "", *lines, *([""] if notes else []), *notes])


@dataclass(frozen=True)
class Findings:
    """Results of one part; `figures` are single numbers by name, most of them for README."""

    tables: Sequence[Table]
    figures: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> "Findings":
        """Read results from the file."""
        return cls([Table(**table) for table in stored["tables"]], stored["figures"])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return f"| {first[0]:<{first[1]}} | " + " | ".join(f"{cell:>{width}}" for cell, width in rest) + " |"


def wrapped(paragraph: str) -> str:
    """Break a paragraph or an item of a list into lines; no-break spaces stay whole."""
    indent = "  " if paragraph.startswith("- ") else ""
    return textwrap.fill(paragraph, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def seconds(value: float | None) -> str:
    """A time of seconds."""
    return NOT_MEASURED if value is None else f"{value:.2f}"


def ratio(value: float | None) -> str:
    """A ratio."""
    return NOT_MEASURED if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share, in percent."""
    return NOT_MEASURED if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """The difference of two shares, in percentage points."""
    return NOT_MEASURED if value is None else f"{100 * value:+.1f}"


def milliseconds(value: float | None) -> str:
    """A time of seconds, shown in milliseconds."""
    return NOT_MEASURED if value is None else f"{1000 * value:.1f}"


def whole(value: float | None) -> str:
    """A number without a fraction."""
    return NOT_MEASURED if value is None else f"{value:.0f}"


def quantile(values: Sequence[float], part: float) -> float:
    """The value that this part of all values does not exceed."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]
