"""The command `list`: shows the newest tasks."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, NamedTuple

import typer

from natscribe.cli.console import err, open_client, out, run_and_exit
from natscribe.cli.users import user_id
from natscribe.client import Client
from natscribe.schemas.progress import State
from natscribe.schemas.task_list import MOST_LISTED, ListedTask

OfUser = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="Only the tasks of this user.", show_default=False)
]
InState = Annotated[State | None, typer.Option("--state", help="Only the tasks in this state.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, help="How many tasks are listed at most.")]
JsonTasks = Annotated[bool, typer.Option("--json", help="One JSON object a line: the ListedTask messages.")]

_LONGEST_USER = 12  # characters in a line of the terminal


def list_tasks(*, user: OfUser = None, state: InState = None, limit: Limit = 20, as_json: JsonTasks = False) -> None:
    """List tasks, newest first."""
    owner = None if user is None else user_id(user)

    async def work() -> int:
        async with open_client() as client, aclosing(_tasks(client, owner, state, limit)) as tasks:
            found = [task async for task in tasks]
        if as_json:
            for task in found:
                out.print(task.model_dump_json())
        elif found:
            _show(found)
        else:
            err.print("There are no such tasks." if user or state else "There are no tasks.")
        return 0

    run_and_exit(work())


async def _tasks(
    client: Client, owner: int | str | None, state: State | None, limit: int
) -> AsyncGenerator[ListedTask, None]:
    """Yield tasks page by page, the newest first."""
    before: str | None = None
    while limit > 0:
        page = await client.tasks(user_id=owner, state=state, limit=min(limit, MOST_LISTED), before=before)
        for task in page.tasks:
            yield task
        limit -= len(page.tasks)
        before = page.more_before
        if before is None:
            return


def _show(tasks: list[ListedTask]) -> None:
    """Print one line a task, on a terminal in columns; the id stands last and whole, because people copy it."""
    rows = [_columns(task) for task in tasks]
    if out.is_terminal:
        rows = [_HEADER, *(row._replace(user=_shortened(row.user)) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        rows = [_Row(*(cell.ljust(width) for cell, width in zip(row, widths, strict=True))) for row in rows]
    for row in rows:
        out.print("  ".join(row).rstrip())


class _Row(NamedTuple):
    created: str
    state: str
    kind: str
    user: str
    task: str


_HEADER = _Row(*_Row._fields)


def _shortened(user: str) -> str:
    return user if len(user) <= _LONGEST_USER else f"{user[: _LONGEST_USER - 1]}…"


def _columns(task: ListedTask) -> _Row:
    state = str(task.state)
    if task.state is State.RUNNING:
        state += f" {task.progress} %"
    if task.error is not None:
        state += f" ({task.error.code})"
    owner = "" if task.user_id is None else str(task.user_id)
    return _Row(f"{task.created_at.astimezone():%Y-%m-%d %H:%M}", state, str(task.kind), owner, task.task_id)
