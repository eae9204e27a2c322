"""The subcommand `list`: prints the newest tasks."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import typer

from natscribe.cli.console import err, run_with_client
from natscribe.cli.names import recording_name
from natscribe.cli.options import parse_user_id
from natscribe.cli.tables import Column, print_messages
from natscribe.cli.wording import clock, progress_text, start_text, to_the_minute
from natscribe.client import Client
from natscribe.schemas.progress import State
from natscribe.schemas.task_list import MAX_LISTED_TASKS, ListedTask

UserFilter = Annotated[
    str | None, typer.Option("--user", "--user-id", metavar="ID", help="Only the tasks of this user.")
]
StateFilter = Annotated[State | None, typer.Option("--state", help="Only the tasks in this state.")]
Limit = Annotated[int, typer.Option(min=1, help="Maximum number of tasks.")]
JsonTasks = Annotated[bool, typer.Option("--json", help="One JSON object per line: the ListedTask messages.")]


def list_tasks(
    *, user: UserFilter = None, state: StateFilter = None, limit: Limit = 20, as_json: JsonTasks = False
) -> None:
    """List tasks, newest first."""
    owner = None if user is None else parse_user_id(user)

    async def work(client: Client) -> None:
        none = "There are no such tasks." if user or state else "There are no tasks."
        newest = _Newest(client, owner, state, limit)
        await print_messages(newest.tasks(), _COLUMNS, _row, as_json=as_json, none=none)
        if newest.has_more:
            err.print(f"Older tasks are not shown: --limit {5 * limit} shows more, --user and --state select some.")

    run_with_client(work)


@dataclass
class _Newest:
    """The newest tasks, at most `limit`; `has_more`: whether there are older ones, once `tasks` has ended.

    `owner`: only the tasks of this user; None: of all users. `state`: only the tasks in this state; None: in any state.
    """

    client: Client
    owner: int | str | None
    state: State | None
    limit: int
    has_more: bool = False

    async def tasks(self) -> AsyncIterator[ListedTask]:
        """Yield the tasks, the newest first."""
        left, before = self.limit, None
        while left > 0:
            size = min(left, MAX_LISTED_TASKS)
            page = await self.client.tasks(user_id=self.owner, state=self.state, limit=size, before=before)
            for task in page.tasks:
                yield task
            left -= len(page.tasks)
            before = page.more_before
            self.has_more = before is not None
            if before is None:
                return


_COLUMNS = (
    Column("created"),
    Column("state"),
    Column("kind", optional=True),
    Column("user", max_width=12),
    Column("length", right=True),
    Column("recording", max_width=20, folds=True),
    Column("error", optional=True),
    Column("task", folds=True),
)


def _row(task: ListedTask) -> list[str]:
    state = f"{task.state}{start_text(task.not_before)}"
    if task.state is State.RUNNING:
        state += f" {progress_text(task)}"
    owner = "" if task.user_id is None else str(task.user_id)
    length = "" if task.duration_seconds is None else clock(task.duration_seconds)
    recording = "" if task.audio_file_id is None else recording_name(task.audio_file_id, task.task_id)
    error = "" if task.error is None else task.error.code
    return [to_the_minute(task.created_at), state, task.kind, owner, length, recording, error, task.task_id]
