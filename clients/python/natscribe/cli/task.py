"""The commands for an existing task: `watch`, `status`, `cancel`, `delete`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

import typer

from natscribe.cli.console import ERROR, err, open_client, out, print_hint, run_and_exit
from natscribe.cli.display import ShownText
from natscribe.cli.follow import follow
from natscribe.cli.output import NotWrittenError
from natscribe.cli.show import choose_display
from natscribe.cli.status import facts, summary
from natscribe.cli.tables import print_topics
from natscribe.cli.users import parse_user_id
from natscribe.client import Client, ClientError, RequestFailedError, UnreachableError, command
from natscribe.schemas.kinds import Result
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus

Task = Annotated[str, typer.Argument(metavar="TASK_ID")]
SeveralTasks = Annotated[list[str], typer.Argument(metavar="TASK_ID...")]
Tasks = Annotated[list[str] | None, typer.Argument(metavar="TASK_ID...", show_default=False)]
User = Annotated[
    str | None,
    typer.Option("--user", "--user-id", metavar="ID", help="Delete all tasks of this user.", show_default=False),
]
Yes = Annotated[bool, typer.Option("--yes", help="Delete the tasks of a user without a question.")]
JsonEvents = Annotated[
    bool, typer.Option("--json", help="One JSON object a line: the task's ProgressEvent and SegmentsEvent messages.")
]
JsonStatus = Annotated[bool, typer.Option("--json", help="The TaskStatus message as one line of JSON.")]


def watch(task_id: Task, *, as_json: JsonEvents = False) -> None:
    """Show a task until it ends, and its text as found."""

    async def work() -> int:
        async with open_client() as client:
            await _check_known(client, task_id)
            try:
                with choose_display(as_json=as_json, live=ShownText.TEXT) as display:
                    return 0 if await follow(client, display, task_id, task_id) else 1
            except asyncio.CancelledError:
                here = command()
                err.print(
                    f"{task_id} still runs: `{here} watch {task_id}` shows it, `{here} cancel {task_id}` ends it."
                )
                raise

    run_and_exit(work())


def status(task_id: Task, *, as_json: JsonStatus = False) -> None:
    """Show the state of a task, and what to do next."""

    async def work() -> int:
        async with open_client() as client:
            found = await client.get_task_progress(task_id)
            if as_json:
                out.print(found.model_dump_json())
            else:
                out.print(summary(found), soft_wrap=not out.is_terminal)
                print_topics(out, facts(found, await _result(client, found)))
        return 0

    run_and_exit(work())


def cancel(task_ids: SeveralTasks, *, as_json: JsonStatus = False) -> None:
    """Cancel tasks that wait or run."""

    async def work() -> int:
        async with open_client() as client:

            async def cancel_one(task_id: str) -> None:
                found = await client.cancel(task_id)
                out.print(found.model_dump_json() if as_json else summary(found))
                if found.state is not State.CANCELLED:
                    err.print(f"{task_id} is {found.state} already: there is nothing left to cancel.")

            return await for_each_task(task_ids, cancel_one)

    run_and_exit(work())


def delete(task_ids: Tasks = None, *, user: User = None, yes: Yes = False) -> None:
    """Delete tasks, their results and recordings. Other tasks lose the same recording, too."""
    if (user is None) is (not task_ids):
        message = "give either TASK_IDs or --user"
        raise typer.BadParameter(message)
    if user is None:
        run_and_exit(_delete_tasks(task_ids or []))
    if not yes:
        typer.confirm(f"Delete all tasks of user {user}, with their results and recordings?", abort=True)
    run_and_exit(_delete_user(parse_user_id(user)))


async def _delete_user(user: int | str) -> int:
    async with open_client() as client:
        out.print(f"deleted: {await client.delete_user(user)}")
    return 0


async def _delete_tasks(task_ids: list[str]) -> int:
    async with open_client() as client:

        async def delete_one(task_id: str) -> None:
            await client.delete(task_id)
            err.print(f"{task_id} is deleted.")

        return await for_each_task(task_ids, delete_one)


async def for_each_task(task_ids: list[str], act: Callable[[str], Awaitable[None]]) -> int:
    """Do something with each task, even after it failed for another task; return the exit code."""
    failed: list[Exception] = []
    for task_id in dict.fromkeys(task_ids):
        try:
            await act(task_id)
        except (RequestFailedError, NotWrittenError) as error:
            failed.append(error)
            err.print(f"{task_id}: {error}" if len(task_ids) > 1 else str(error), style=ERROR)
    print_hint(*failed)
    return 1 if failed else 0


async def _check_known(client: Client, task_id: str) -> None:
    """Check that a task exists: `follow` would wait for an unknown task. Without a worker, check for its events."""
    try:
        await client.get_task_progress(task_id)
    except UnreachableError:
        if not await client.has_events(task_id):
            raise


async def _result(client: Client, found: TaskStatus) -> Result | None:
    """Return the result of a task; None if the task has none, or if it cannot be read now."""
    if found.result_available:
        with suppress(ClientError):
            return await client.get_task_result(found.task_id)
    return None
