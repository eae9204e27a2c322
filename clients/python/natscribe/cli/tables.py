"""Prints tables: aligned columns with titles on a terminal, and one plain line per row for programs."""

import sys
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel
from rich.cells import cell_len, set_cell_size
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from natscribe.cli.console import err, out
from natscribe.cli.wording import clock, seconds_since
from natscribe.schemas.printable import printable
from natscribe.schemas.task_queues import QueueStatus, UserLoad

GAP = "  "  # between columns
AnyMessage = TypeVar("AnyMessage", bound=BaseModel)


@dataclass(frozen=True)
class Column:
    """The title of a table's column, and how its cells are laid out."""

    title: str
    right: bool = False  # aligned to the right, as numbers are
    max_chars: int = 0  # maximum number of characters on a terminal; 0: unlimited
    named: bool = False  # whether plain lines, which have no titles, repeat the title before the cell
    optional: bool = False  # whether it is omitted on a terminal that is too narrow for all columns


@dataclass(frozen=True)
class Row:
    """The cells of a table's row, and a `note`.

    The note is printed below the row on a terminal, and otherwise at the end of the row's line.
    """

    cells: Sequence[str]
    note: str = ""


QUEUE_COLUMNS = (
    Column("priority"),
    Column("kind"),
    Column("waiting", right=True, named=True),
    Column("running", right=True, named=True),
    Column("oldest", named=True),
)


_USER_COLUMNS = (
    Column("user", max_chars=24),
    Column("waiting", right=True, named=True),
    Column("running", right=True, named=True),
    Column("audio", right=True, named=True),
)


def print_table(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a table with titles; without a terminal, with whole texts and each note in the line of its row.

    Without a terminal, a table with a `named` column has no titles. Without rows, print nothing. The last column, whose
    texts people copy, is never truncated.
    """
    is_plain = not out.is_terminal
    if not rows or (is_plain and any(column.named for column in columns)):
        for row in rows:
            out.print(_line(columns, row))
        return
    cells = [
        [printable(cell) if is_plain else _shortened(cell, column) for cell, column in _pairs(row, columns)]
        for row in rows
    ]
    lines = [[column.title for column in columns], *cells]
    widths = _widths(columns, lines, sys.maxsize if is_plain else out.width)
    for number, line in enumerate(lines):
        aligned = [_aligned(line[index], columns[index], width) for index, width in widths.items()]
        note = rows[number - 1].note if number else ""
        if is_plain:
            aligned.append(printable(note))
        out.print(Text(GAP.join(aligned).rstrip(), "" if number else "bold underline"))
        if note and not is_plain:
            out.print(Padding(note, (0, 0, 0, len(GAP))), soft_wrap=False)


def queue_cells(queue: QueueStatus) -> list[str]:
    """Return the table cells of a task queue.

    They are the priority and lane (type of tasks) of the queue, its numbers of waiting and running tasks, and the age
    of its oldest waiting task.
    """
    oldest = clock(max(seconds_since(queue.oldest), 0)) if queue.oldest else ""
    counts = str(queue.waiting), str(queue.running)
    return [queue.priority, queue.queue, *counts, oldest]


def user_cells(load: UserLoad) -> list[str]:
    """Return the table cells of a user: id, numbers of waiting and running tasks, and duration of the waiting audio."""
    user = "(none)" if load.user_id is None else str(load.user_id)
    return [user, str(load.waiting), str(load.running), clock(load.waiting_seconds)]


def print_users(users: Sequence[UserLoad]) -> None:
    """Print a table of users with their numbers of tasks; without users, print nothing."""
    print_table(_USER_COLUMNS, [Row(user_cells(load)) for load in users])


async def print_messages(
    messages: AsyncIterable[AnyMessage],
    columns: Sequence[Column],
    make_row: Callable[[AnyMessage], Row],
    *,
    as_json: bool,
    none: str,
) -> None:
    """Print the items of a list from the service, such as tasks, as a table, or with `as_json` each as a line of JSON.

    `messages`: the items. `make_row`: converts an item into a row. `none`: what to print on standard error if there are
    no items.
    """
    rows: list[Row] = []
    is_empty = True
    async for message in messages:
        is_empty = False
        if as_json:
            out.print_data(message.model_dump_json())
        else:
            rows.append(make_row(message))
    print_table(columns, rows)
    if is_empty:
        err.print(none)


def print_topics(topics: Sequence[tuple[str, str]]) -> None:
    """Print pairs of a topic and a text, such as `state` and `running`, as a table of two columns."""
    if not out.is_terminal:
        width = max(len(topic) for topic, _ in topics)
        for topic, text in topics:
            out.print(f"{topic.ljust(width)}{GAP}{printable(text)}")
        return
    table = Table.grid(padding=(0, len(GAP), 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for topic, text in topics:
        table.add_row(topic, Text(text))
    out.print(table, soft_wrap=False)


def _widths(columns: Sequence[Column], lines: Sequence[Sequence[str]], room: int) -> dict[int, int]:
    """Return the width in characters of each visible column, by its index.

    Optional columns that do not fit into `room` characters are hidden. `lines`: the cells of each line of the table.
    """
    widths = dict(enumerate(max(map(cell_len, cells)) for cells in zip(*lines, strict=True)))
    for index, column in enumerate(columns):
        if column.optional and sum(widths.values()) + len(GAP) * (len(widths) - 1) > room:
            del widths[index]
    return widths


def _pairs(row: Row, columns: Sequence[Column]) -> list[tuple[str, Column]]:
    return list(zip(row.cells, columns, strict=True))


def _line(columns: Sequence[Column], row: Row) -> str:
    cells = [
        f"{column.title} {cell}" if column.named else cell
        for cell, column in _pairs(row, columns)
        if cell or not column.named
    ]
    return printable(GAP.join([*cells, row.note]).rstrip())


def _shortened(text: str, column: Column) -> str:
    cell = printable(text)
    if not column.max_chars or cell_len(cell) <= column.max_chars:
        return cell
    return set_cell_size(cell, column.max_chars - 1).rstrip() + "…"


def _aligned(cell: str, column: Column, width: int) -> str:
    blank = " " * (width - cell_len(cell))
    return blank + cell if column.right else cell + blank
