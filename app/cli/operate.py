"""`queue` and `dead-letters`: for those who run the service."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from pydantic_core import to_json
from rich.table import Table

from app.cli.console import err, open_client, out, run_and_exit
from app.cli.wording import begins, clock
from app.client import TaskQueue, command
from schemas.dead_letters import DeadLetter
from schemas.errors import ErrorCode
from schemas.wire import Kind

JsonQueue = Annotated[
    bool,
    typer.Option("--json", help="One JSON object: `queues`, and how many have `failed`. Times are RFC 3339, or null."),
]
JsonLetters = Annotated[bool, typer.Option("--json", help="One JSON object a line: the DeadLetter messages.")]

OfTask = Annotated[str | None, typer.Option("--task-id", help="Of this task.")]
OfKind = Annotated[Kind | None, typer.Option("--kind", help="All of this kind.")]
OfCode = Annotated[ErrorCode | None, typer.Option("--code", help="All that failed with this error code.")]

dead_letters = typer.Typer(no_args_is_help=True, help="What could not be done.")


def queue(*, as_json: JsonQueue = False) -> None:
    """Tell how many tasks wait, run and have failed, how old the oldest is and when the newest is expected to begin."""

    async def work() -> int:
        async with open_client() as client:
            queues, failed = await client.queue(), await client.failed()
            starts = [await client.newest_start(queue) for queue in queues]
        _show_json(queues, starts, failed) if as_json else _show_table(queues, starts, failed)
        return 0

    run_and_exit(work())


def _show_json(queues: list[TaskQueue], starts: list[datetime | None], failed: int) -> None:
    found = [
        {
            "kind": queue.kind,
            "priority": queue.priority,
            "waiting": queue.waiting,
            "running": queue.running,
            "oldest": queue.oldest,
            "newest_start": start,
        }
        for queue, start in zip(queues, starts, strict=True)
    ]
    out.print(to_json({"queues": found, "failed": failed}).decode())  # times as all messages have them


def _show_table(queues: list[TaskQueue], starts: list[datetime | None], failed: int) -> None:
    table = Table("priority", "kind", "waiting", "running", "oldest", "newest")
    for queue, start in zip(queues, starts, strict=True):
        begin = begins(start).removeprefix(", ")
        table.add_row(queue.priority, queue.kind, str(queue.waiting), str(queue.running), _age(queue.oldest), begin)
    out.print(table)
    why = f" (`{command()} dead-letters list` says why, `{command()} dead-letters delete` clears)" if failed else ""
    out.print(f"failed: {failed}{why}")


@dead_letters.command("list")
def show(*, as_json: JsonLetters = False) -> None:
    """List them, oldest first."""

    async def work() -> int:
        count = 0
        async with open_client() as client:
            async for letter in client.dead_letters():
                count += 1
                out.print(letter.model_dump_json() if as_json else _line(letter))
        if not count:
            err.print("There are none.")
        return 0

    run_and_exit(work())


@dead_letters.command()
def replay(*, task_id: OfTask = None, kind: OfKind = None, code: OfCode = None) -> None:
    """Queue them again: exactly one option says which."""

    async def work() -> int:
        async with open_client() as client:
            count = await client.replay(task_id=task_id, kind=kind, code=code)
        out.print(f"queued again: {count}")
        if not count:
            err.print(
                "Nothing to queue again: no letter that matches is of a valid task that has failed within 8 days."
            )
        return 0

    run_and_exit(work())


@dead_letters.command()
def delete(*, task_id: OfTask = None, kind: OfKind = None, code: OfCode = None) -> None:
    """Remove them, and nothing else of their tasks: exactly one option says which."""

    async def work() -> int:
        async with open_client() as client:
            out.print(f"deleted: {await client.delete_letters(task_id=task_id, kind=kind, code=code)}")
        return 0

    run_and_exit(work())


def _age(since: datetime | None) -> str:
    return "" if since is None else f"{clock((datetime.now(UTC) - since).total_seconds())} ago"


def _line(letter: DeadLetter) -> str:
    task = letter.task_id or "(no task id)"
    return f"{letter.time:%Y-%m-%d %H:%M:%S}  {task}  {letter.kind}  {letter.error.code}: {letter.error.message}"
