"""The subcommands for existing tasks: `watch`, `status`, `cancel` and `delete`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated

import typer

from natscribe.cli.bars import choose_display
from natscribe.cli.console import ERROR, err, out, print_hint, require, run_with_client
from natscribe.cli.display import ShownText
from natscribe.cli.follow import follow
from natscribe.cli.options import parse_user_id
from natscribe.cli.output import NotWrittenError
from natscribe.cli.status import details, summary
from natscribe.cli.tables import print_topics
from natscribe.client import Client, ClientError, RequestFailedError, UnreachableError, command
from natscribe.schemas.kinds import Result
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus

Task = Annotated[str, typer.Argument(metavar="TASK_ID")]
SeveralTasks = Annotated[list[str], typer.Argument(metavar="TASK_ID...")]
Tasks = Annotated[list[str] | None, typer.Argument(metavar="TASK_ID...")]
User = Annotated[str | None, typer.Option("--user", "--user-id", metavar="ID", help="Delete all tasks of this user.")]
Yes = Annotated[bool, typer.Option("--yes", help="Delete the tasks of a user without confirmation.")]
JsonEvents = Annotated[
    bool, typer.Option("--json", help="One JSON object per line: the task's ProgressEvent and SegmentsEvent messages.")
]
JsonStatus = Annotated[bool, typer.Option("--json", help="The TaskStatus message as one line of JSON.")]


def watch(task_id: Task, *, as_json: JsonEvents = False) -> None:
    """Show a task's progress and text until it ends."""

    async def work(client: Client) -> int:
        await _check_exists(client, task_id)
        try:
            with choose_display(as_json=as_json, shown=ShownText.ALL) as display:
                return 0 if await follow(client, display, task_id, task_id) else 1
        except asyncio.CancelledError:
            here = command()
            commands = f"`{here} watch {task_id}` shows it, `{here} cancel {task_id}` cancels it."
            err.print(f"{task_id} is still running: {commands}")
            raise

    run_with_client(work)


def status(task_id: Task, *, as_json: JsonStatus = False) -> None:
    """Show the state of a task and the next step."""

    async def work(client: Client) -> None:
        task_status = await client.get_task_progress(task_id)
        if as_json:
            out.print_data(task_status.model_dump_json())
        else:
            out.print(summary(task_status), soft_wrap=not out.is_terminal)
            print_topics(details(task_status, await _result(client, task_status)))

    run_with_client(work)


def cancel(task_ids: SeveralTasks, *, as_json: JsonStatus = False) -> None:
    """Cancel waiting or running tasks."""

    async def cancel_one(client: Client, task_id: str) -> None:
        task_status = await client.cancel(task_id)
        out.print_data(task_status.model_dump_json()) if as_json else out.print(summary(task_status))
        if task_status.state is not State.CANCELLED:
            err.print(f"{task_id} is already {task_status.state}: there is nothing to cancel.")

    run_with_client(lambda client: for_each_task(task_ids, partial(cancel_one, client)))


def delete(task_ids: Tasks = None, *, user: User = None, yes: Yes = False) -> None:
    """Delete tasks, their results and recordings. Other tasks with the same recording lose it, too."""
    require((user is None) is not (not task_ids), "give either TASK_IDs or --user")
    if user is None:
        run_with_client(lambda client: for_each_task(task_ids or [], partial(_delete_task, client)))
    if not yes:
        typer.confirm(f"Delete all tasks of user {user}, with their results and recordings?", abort=True)

    async def delete_all(client: Client) -> None:
        out.print(f"deleted: {await client.delete_user(parse_user_id(user))}")

    run_with_client(delete_all)


async def _delete_task(client: Client, task_id: str) -> None:
    await client.delete(task_id)
    err.print(f"{task_id} is deleted.")


async def for_each_task(task_ids: list[str], act: Callable[[str], Awaitable[None]]) -> int:
    """Call `act` with each task id, repeated ids once; return the exit code: 1 if a call has failed, or 0.

    A call that raises RequestFailedError or NotWrittenError has failed: the error is printed, and the remaining task
    ids are processed nevertheless. Any other exception is raised.
    """
    failed: list[Exception] = []
    for task_id in dict.fromkeys(task_ids):
        try:
            await act(task_id)
        except (RequestFailedError, NotWrittenError) as error:
            failed.append(error)
            err.print(f"{task_id}: {error}" if len(task_ids) > 1 else str(error), style=ERROR)
    print_hint(*failed)
    return 1 if failed else 0


async def _check_exists(client: Client, task_id: str) -> None:
    """Check that a task exists, because `follow` would wait for a task that does not exist yet.

    The client asks a worker. If none replies, the client looks for events of the task in the progress stream.

    Raises:
        RequestFailedError: There is no such task.
        UnreachableError: No worker replies, and the progress stream has no events of the task.
    """
    try:
        await client.get_task_progress(task_id)
    except UnreachableError:
        if not await client.has_events(task_id):
            raise


async def _result(client: Client, status: TaskStatus) -> Result | None:
    """Return the result of a task; None if the task has none, or if it cannot be read now."""
    if status.result_available:
        with suppress(ClientError):
            return await client.get_task_result(status.task_id)
    return None
