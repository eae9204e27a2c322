"""The subcommands `queue` and `dead-letters`, for operators."""

from typing import Annotated

import typer

from natscribe.cli.console import err, out, require, run_with_client
from natscribe.cli.tables import (
    QUEUE_COLUMNS,
    USER_COLUMNS,
    Column,
    print_messages,
    print_table,
    queue_cells,
    user_cells,
)
from natscribe.cli.wording import to_the_minute
from natscribe.client import Client, command
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.task_queues import QueueOverview
from natscribe.schemas.wire import Kind

JsonQueue = Annotated[bool, typer.Option("--json", help="The QueueOverview message as one line of JSON.")]
JsonDeadLetters = Annotated[bool, typer.Option("--json", help="One JSON object per line: the DeadLetter messages.")]

OfTask = Annotated[str | None, typer.Option("--task-id", help="The dead letter of this task.")]
OfKind = Annotated[Kind | None, typer.Option("--kind", help="All dead letters of this kind.")]
OfCode = Annotated[ErrorCode | None, typer.Option("--code", help="All dead letters with this error code.")]

dead_letters = typer.Typer(no_args_is_help=True, help="List, replay or delete failures of the service.")


def queue(*, as_json: JsonQueue = False) -> None:
    """Count tasks by queue and by user. Show the age of the oldest waiting one."""

    async def work(client: Client) -> None:
        overview = await client.queue()
        out.print_data(overview.model_dump_json()) if as_json else _show_queues(overview)

    run_with_client(work)


_DEAD_LETTER_COLUMNS = (
    Column("failed"),
    Column("kind", optional=True),
    Column("task", folds=True),
    Column("error", folds=True),
)


def _show_queues(overview: QueueOverview) -> None:
    rows = [queue_cells(status) for status in overview.queues if status.waiting or status.running]
    print_table(QUEUE_COLUMNS, rows)
    print_table(USER_COLUMNS, [user_cells(load) for load in overview.users])
    scheduled = sum(status.scheduled for status in overview.queues)
    if not (rows or scheduled or overview.dead_letters):
        err.print("No tasks are waiting or running, and no dead letters are stored.")
    if scheduled:
        out.print(f"scheduled: {scheduled}")
    if overview.dead_letters:
        here = command()
        out.print(f"dead letters: {overview.dead_letters}")
        out.print(f"  {here} dead-letters list    shows why")
        out.print(f"  {here} dead-letters delete --code CODE    deletes them")


@dead_letters.command("list")
def show(*, as_json: JsonDeadLetters = False) -> None:
    """List dead letters, oldest first."""

    async def work(client: Client) -> None:
        dead_letters, none = client.dead_letters(), "There are no dead letters."
        await print_messages(dead_letters, _DEAD_LETTER_COLUMNS, _dead_letter_row, as_json=as_json, none=none)

    run_with_client(work)


@dead_letters.command()
def replay(*, task_id: OfTask = None, kind: OfKind = None, code: OfCode = None) -> None:
    """Queue the tasks of dead letters again. Exactly one option selects them."""
    _check_one(task_id, kind, code)

    async def work(client: Client) -> None:
        count = await client.replay(task_id=task_id, kind=kind, code=code)
        out.print(f"queued again: {count}")
        if not count:
            err.print("Nothing to queue again: no dead letter matches a valid task that failed within 8 days.")

    run_with_client(work)


@dead_letters.command()
def delete(*, task_id: OfTask = None, kind: OfKind = None, code: OfCode = None) -> None:
    """Delete dead letters. Exactly one option selects them. Other data of their tasks stays."""
    _check_one(task_id, kind, code)

    async def work(client: Client) -> None:
        out.print(f"deleted: {await client.delete_dead_letters(task_id=task_id, kind=kind, code=code)}")

    run_with_client(work)


def _check_one(*options: object) -> None:
    """Check that exactly one of the options that select dead letters is given, i.e. is not None.

    Raises:
        typer.BadParameter: None of them is given, or several are.
    """
    is_one = sum(option is not None for option in options) == 1
    require(is_one, "give exactly one of --task-id, --kind and --code")


def _dead_letter_row(dead_letter: DeadLetter) -> list[str]:
    error, task = dead_letter.error, dead_letter.task_id or "(no task id)"
    return [to_the_minute(dead_letter.time), dead_letter.kind, task, f"{error.code}: {error.message}"]
