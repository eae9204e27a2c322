"""Prints tables: within the width of a terminal, and otherwise one line per row."""

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import TypeVar

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from natscribe.cli.console import err, out
from natscribe.cli.wording import clock, seconds_since
from natscribe.schemas.printable import printable
from natscribe.schemas.task_queues import QueueStatus, UserLoad

TITLES = "bold underline"
GAP = 2  # columns of the screen between the columns of a table
WIDE = 100  # columns of a terminal that shows all columns of tables
WHOLE = 100_000  # columns of the screen: no table is wider
AnyMessage = TypeVar("AnyMessage", bound=BaseModel)


@dataclass(frozen=True)
class Column:
    """The title of a table's column, and how its cells are laid out."""

    title: str
    right: bool = False  # aligned to the right, as numbers are
    max_width: int | None = None  # on a terminal
    folds: bool = False  # whether a terminal shows longer cells in several lines; other columns have an ellipsis
    optional: bool = False  # whether it is omitted on a narrow terminal


QUEUE_COLUMNS = (
    Column("priority"),
    Column("queue"),
    Column("waiting", right=True),
    Column("running", right=True),
    Column("oldest", right=True),
)
USER_COLUMNS = (
    Column("user", max_width=24),
    Column("waiting", right=True),
    Column("running", right=True),
    Column("audio", right=True),
)


def new_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Table:
    """Create a table with titles."""
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style=TITLES)
    for column in columns:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            max_width=column.max_width,
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with titles, without its empty columns; without a terminal, each row is one line with whole texts.

    A narrow terminal shows no optional columns. Without rows, print nothing.
    """
    if not rows:
        return
    is_narrow = out.is_terminal and out.width < WIDE
    used = [any(cells) and not (is_narrow and column.optional) for column, *cells in zip(columns, *rows, strict=True)]
    columns, cells = list(compress(columns, used)), [list(compress(row, used)) for row in rows]
    if out.is_terminal:
        out.print(new_table(columns, cells), soft_wrap=False)
        return
    table = new_table([replace(column, max_width=None) for column in columns], cells)
    table.width = out.measure(table, options=out.options.update(width=WHOLE)).maximum
    out.print(table)


def queue_cells(queue: QueueStatus) -> list[str]:
    """Return the table cells of a task queue.

    They are the priority of the queue and type of its tasks, its numbers of waiting and running tasks, and the age
    of its oldest waiting task.
    """
    oldest = clock(max(seconds_since(queue.oldest), 0)) if queue.oldest else ""
    counts = str(queue.waiting), str(queue.running)
    return [queue.priority, queue.queue, *counts, oldest]


def user_cells(load: UserLoad) -> list[str]:
    """Return the table cells of a user: id, numbers of waiting and running tasks, and duration of the waiting audio."""
    user = "(none)" if load.user_id is None else str(load.user_id)
    return [user, str(load.waiting), str(load.running), clock(load.waiting_seconds)]


async def print_messages(
    messages: AsyncIterable[AnyMessage],
    columns: Sequence[Column],
    make_row: Callable[[AnyMessage], Sequence[str]],
    *,
    as_json: bool,
    none: str,
) -> None:
    """Print the items of a list from the service, such as tasks, as a table, or with `as_json` each as a line of JSON.

    `messages`: the items. `make_row`: converts an item into a row. `none`: what to print on standard error if there are
    no items.
    """
    rows: list[Sequence[str]] = []
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
            out.print(f"{topic.ljust(width + GAP)}{printable(text)}")
        return
    table = Table.grid(padding=(0, GAP, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for topic, text in topics:
        table.add_row(topic, Text(text))
    out.print(table, soft_wrap=False)
