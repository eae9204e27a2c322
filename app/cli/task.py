"""`watch`, `status`, `result`, `cancel`, `delete`: one task that is there already."""

import asyncio
from typing import Annotated

import typer

from app.cli.console import err, find_servers, finish, out
from app.cli.show import choose
from app.cli.submit import Json, follow
from app.client import Client
from schemas.requests import ResultFormat, TaskStatus

Task = Annotated[str, typer.Argument(metavar="TASK_ID")]


def watch(task_id: Task, *, as_json: Json = False) -> None:
    """Show a task from its beginning until it ends, and its text as it is found."""

    async def work() -> int:
        async with Client(find_servers()) as client:
            await client.get_task_progress(task_id)  # an unknown task would be waited for
            try:
                with choose(as_json=as_json, segments=True) as display:
                    return 0 if await follow(client, display, task_id, task_id) else 1
            except asyncio.CancelledError:
                err.print(f"{task_id} goes on: `natscribe cancel {task_id}` ends it.")
                raise

    finish(work())


def status(task_id: Task, *, as_json: Json = False) -> None:
    """Tell where a task stands."""

    async def work() -> int:
        async with Client(find_servers()) as client:
            _show(await client.get_task_progress(task_id), as_json=as_json)
        return 0

    finish(work())


def result(
    task_id: Task,
    *,
    result_format: Annotated[ResultFormat, typer.Option("--format", help="How it is written.")] = ResultFormat.TXT,
) -> None:
    """Print what came of a task."""

    async def work() -> int:
        async with Client(find_servers()) as client:
            found = await client.get_task_result(task_id, result_format)
        out.print(found.rstrip("\n") if isinstance(found, str) else found.model_dump_json())
        return 0

    finish(work())


def cancel(task_id: Task, *, as_json: Json = False) -> None:
    """End a task, queued or running."""

    async def work() -> int:
        async with Client(find_servers()) as client:
            _show(await client.cancel(task_id), as_json=as_json)
        return 0

    finish(work())


def delete(task_id: Task) -> None:
    """Delete all that is kept of a task, its recording too."""

    async def work() -> int:
        async with Client(find_servers()) as client:
            await client.delete(task_id)
        err.print(f"{task_id} is deleted.")
        return 0

    finish(work())


def _show(found: TaskStatus, *, as_json: bool) -> None:
    if as_json:
        out.print(found.model_dump_json())
        return
    stage = f", {found.stage}" if found.stage else ""
    place = f", place {found.queue_position} in the queue" if found.queue_position else ""
    why = f": {found.error.message} ({found.error.code})" if found.error else ""
    out.print(f"{found.task_id}: {found.kind} {found.state}{stage}, {found.progress} %{place}{why}")
