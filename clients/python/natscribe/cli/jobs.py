"""Jobs: the state of each recording, and the advice for a person who ends the command with Ctrl-C."""

import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from natscribe.cli.folders import MAX_LISTED_NAMES
from natscribe.cli.output import Output
from natscribe.client import Client, command
from natscribe.schemas.kinds import Result

CreateTask = Callable[[Client, Path | str], Awaitable[str]]


@dataclass
class Job:
    """A recording, its task, and what became of the task."""

    recording: Path | str
    create: CreateTask
    label: str
    name: str  # of its files, without the suffix
    task_id: str | None = None
    is_completed: bool = False  # the service has the result
    held: Result | None = None  # the result, until it is its turn to be written
    is_done: bool = False  # the result is written
    has_failed: bool = False


def interruption_notice(jobs: Sequence[Job], output: Output) -> Iterator[str]:
    """Yield lines: how many recordings are done, which tasks go on, and how to follow them again."""
    here = command()
    if len(jobs) > 1:
        where = "printed above" if output.folder is None else f"written to {output.folder}"
        yield f"{sum(job.is_done for job in jobs)} of {len(jobs)} are done, and {where}."
        unsent = [job.label for job in jobs if job.task_id is None and not job.has_failed]
        if unsent:
            more = f" and {len(unsent) - MAX_LISTED_NAMES} more" if len(unsent) > MAX_LISTED_NAMES else ""
            yield f"{len(unsent)} not sent: {', '.join(unsent[:MAX_LISTED_NAMES])}{more}"
    running = [job.task_id for job in jobs if job.task_id and not job.is_done and not job.has_failed]
    if not running:
        return
    if len(running) == 1:
        yield f"{running[0]} still runs:"
        yield f"  {here} watch {running[0]}    shows its text as it is found"
        yield f"  {here} cancel {running[0]}    ends it"
        yield "Fetch the result later:"
    else:
        yield f"{len(running)} go on in the service:"
        yield f"  {here} list --limit {len(jobs)}    shows the state of each"
        yield f"  {here} watch TASK_ID    shows the text of one as it is found"
        yield f"  {here} cancel TASK_ID...    ends them"
        yield "Fetch their results later:"
    yield f"  {here} {shlex.join(['result', *output.options(), *running])}"
