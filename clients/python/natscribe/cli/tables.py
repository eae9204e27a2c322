"""Prints tables: aligned columns with headers on a terminal, and one plain line a row for other programs."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from natscribe.cli.wording import printable

GAP = "  "  # between columns


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False  # aligned to the right, as numbers are
    most: int = 0  # characters on a terminal, at most; 0: as many as there are
    named: bool = False  # whether plain lines, which have no header, say the title before the cell
    optional: bool = False  # whether it is left out on a terminal that is too narrow for all columns


@dataclass(frozen=True)
class Row:
    """A row of a table, and a sentence about it."""

    cells: Sequence[str]
    note: str = ""


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print rows. The last column, which people copy, is never cut."""
    if not console.is_terminal:
        for row in rows:
            console.print(_line(columns, row))
        return
    titles = [column.title for column in columns]
    shown = [titles, *([_shortened(printable(cell), column) for cell, column in _pairs(row, columns)] for row in rows)]
    widest = [max(map(cell_len, cells)) for cells in zip(*shown, strict=True)]
    widths = dict(zip(columns, widest, strict=True))
    for column in [column for column in columns if column.optional]:
        if sum(widths.values()) + len(GAP) * (len(widths) - 1) > console.width:
            del widths[column]
    for number, cells in enumerate(shown):
        aligned = [_aligned(cell, of, widths[of]) for cell, of in zip(cells, columns, strict=True) if of in widths]
        console.print(Text(GAP.join(aligned).rstrip(), "" if number else "bold underline"))
        if number and (note := rows[number - 1].note):
            console.print(Padding(printable(note), (0, 0, 0, len(GAP))), soft_wrap=False)


def print_topics(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    """Print a line for each fact: what it is about, and the fact."""
    if not console.is_terminal:
        width = max(len(topic) for topic, _ in facts)
        for topic, said in facts:
            console.print(f"{topic.ljust(width)}{GAP}{printable(said)}")
        return
    table = Table.grid(padding=(0, len(GAP), 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for topic, said in facts:
        table.add_row(topic, Text(printable(said)))
    console.print(table, soft_wrap=False)


def _pairs(row: Row, columns: Sequence[Column]) -> list[tuple[str, Column]]:
    return list(zip(row.cells, columns, strict=True))


def _line(columns: Sequence[Column], row: Row) -> str:
    said = [
        f"{column.title} {cell}" if column.named else cell
        for cell, column in _pairs(row, columns)
        if cell or not column.named
    ]
    return printable(GAP.join([*said, row.note]).rstrip())


def _shortened(cell: str, column: Column) -> str:
    if not column.most or cell_len(cell) <= column.most:
        return cell
    return set_cell_size(cell, column.most - 1).rstrip() + "…"


def _aligned(cell: str, column: Column, width: int) -> str:
    blank = " " * (width - cell_len(cell))
    return blank + cell if column.right else cell + blank
