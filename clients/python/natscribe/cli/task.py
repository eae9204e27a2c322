"""The commands for an existing task: `watch`, `status`, `result`, `cancel`, `delete`."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli.console import ERROR, WARNING, err, open_client, out, run_and_exit
from natscribe.cli.display import Live
from natscribe.cli.follow import follow
from natscribe.cli.limits import MaxCueSeconds, MaxLineChars, MaxLines, chosen
from natscribe.cli.names import recording_name, result_names
from natscribe.cli.notices import notices
from natscribe.cli.results import FORMAT_HELP, Format, NotWrittenError, Output, OutputDir, output_of
from natscribe.cli.show import choose
from natscribe.cli.status import facts, summary
from natscribe.cli.tables import print_facts
from natscribe.cli.users import user_id
from natscribe.client import Client, ClientError, RequestFailedError, UnreachableError, command
from natscribe.formats import Result
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus

Task = Annotated[str, typer.Argument(metavar="TASK_ID")]
SeveralTasks = Annotated[list[str], typer.Argument(metavar="TASK_ID...")]
Tasks = Annotated[list[str] | None, typer.Argument(metavar="TASK_ID...", show_default=False)]
Audio = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The recording, which the page of --format html plays: the page has a link to it.",
        show_default=False,
    ),
]
User = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="Delete all tasks of this user.", show_default=False)
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
                with choose(as_json=as_json, live=Live.TEXT) as display:
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
                print_facts(out, facts(found, await _result(client, found)))
        return 0

    run_and_exit(work())


def result(  # noqa: PLR0913 -- the options of the command
    task_ids: SeveralTasks,
    *,
    result_format: Annotated[
        list[Format] | None, typer.Option("--format", help=FORMAT_HELP, show_default=False)
    ] = None,
    max_line_chars: MaxLineChars = None,
    max_lines: MaxLines = None,
    max_cue_seconds: MaxCueSeconds = None,
    output_dir: OutputDir = None,
    audio: Audio = None,
) -> None:
    """Print results, or write each into a file.

    The file has the name of the recording; of two tasks with the same recording, one has the name of its task.
    """
    _check_audio(audio, task_ids, result_format)
    limits = chosen(result_format, max_line_chars, max_lines, max_cue_seconds)
    output = output_of(result_format, output_dir, limits)
    output.check_holds(len(set(task_ids)))
    run_and_exit(_fetch_results(task_ids, output, audio))


def _check_audio(audio: Path | None, task_ids: list[str], formats: list[Format] | None) -> None:
    """Check that --audio is the recording of the one page.

    Raises:
        typer.BadParameter: There is no such file, no page, or more than one page.
    """
    if audio is None:
        return
    if Format.HTML not in (formats or ()):
        message = "--audio is for pages: add --format html"
        raise typer.BadParameter(message)
    if len(task_ids) > 1:
        message = "--audio is the recording of one task, but there are several TASK_IDs"
        raise typer.BadParameter(message)
    if not audio.is_file():
        message = f"there is no file {audio}: check the name"
        raise typer.BadParameter(message)


async def _fetch_results(task_ids: list[str], output: Output, audio: Path | None) -> int:
    async with open_client() as client:
        names = {} if output.folder is None else await _file_names(client, task_ids, output)

        async def fetch(task_id: str) -> None:
            found = await client.get_task_result(task_id)
            if output.folder is None:
                output.show(out, found, label=task_id, heading=len(task_ids) > 1, recording=audio)
            else:
                err.print(f"wrote {output.write(names[task_id], found, audio)}")
            for notice in notices(task_id, found):
                err.print(notice, style=WARNING)

        return await _for_each(task_ids, fetch)


async def _file_names(client: Client, task_ids: list[str], output: Output) -> dict[str, str]:
    """Return the name of the file of each task."""
    tasks: dict[str, str] = {}  # by the name of the recording
    for task_id in dict.fromkeys(task_ids):
        name = task_id
        with suppress(RequestFailedError):  # it is told when the result is fetched
            task = (await client.get_task_progress(task_id)).task
            name = recording_name(task.audio_file_id, task_id) if task is not None else task_id
        tasks[task_id if name in tasks else name] = task_id
    return dict(zip(tasks.values(), result_names(list(tasks), output.folder), strict=True))


def cancel(task_ids: SeveralTasks, *, as_json: JsonStatus = False) -> None:
    """Cancel tasks that wait or run."""

    async def work() -> int:
        async with open_client() as client:

            async def cancel_one(task_id: str) -> None:
                found = await client.cancel(task_id)
                out.print(found.model_dump_json() if as_json else summary(found))
                if found.state is not State.CANCELLED:
                    err.print(f"{task_id} is {found.state} already: there is nothing left to cancel.")

            return await _for_each(task_ids, cancel_one)

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
    run_and_exit(_delete_user(user_id(user)))


async def _delete_user(user: int | str) -> int:
    async with open_client() as client:
        out.print(f"deleted: {await client.delete_user(user)}")
    return 0


async def _delete_tasks(task_ids: list[str]) -> int:
    async with open_client() as client:

        async def delete_one(task_id: str) -> None:
            await client.delete(task_id)
            err.print(f"{task_id} is deleted.")

        return await _for_each(task_ids, delete_one)


async def _for_each(task_ids: list[str], act: Callable[[str], Awaitable[None]]) -> int:
    """Do something with each task, also if it cannot be done with another one; return the exit code."""
    failed = 0
    for task_id in dict.fromkeys(task_ids):
        try:
            await act(task_id)
        except (RequestFailedError, NotWrittenError) as error:
            failed += 1
            err.print(f"{task_id}: {error}" if len(task_ids) > 1 else str(error), style=ERROR)
    return 1 if failed else 0


async def _check_known(client: Client, task_id: str) -> None:
    """Check that a task exists: `follow` would wait for an unknown task. Without a worker, look for its events.

    Raises:
        ClientError: The task is unknown, or the service does not answer and NATS has no event of the task.
    """
    try:
        await client.get_task_progress(task_id)
    except UnreachableError:
        if not await client.has_events(task_id):
            raise


async def _result(client: Client, found: TaskStatus) -> Result | None:
    """Return the result of a task, which knows the language; None if there is none, or if it cannot be read now."""
    if found.result_available:
        with suppress(ClientError):
            return await client.get_task_result(found.task_id)
    return None
