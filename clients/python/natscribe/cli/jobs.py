"""Jobs: the state of each submitted recording, and the advice for a person who ends the command with Ctrl-C."""

import shlex
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from natscribe.cli.folders import listed_names
from natscribe.cli.output import Output
from natscribe.client import Client, command
from natscribe.schemas.kinds import Result

CreateTask = Callable[[Client, Path | str], Awaitable[str]]


@dataclass
class Job:
    """A recording, its task and the state of both."""

    recording: Path | str
    create: CreateTask
    label: str
    name: str  # of its result files, without the suffix
    task_id: str | None = None
    is_completed: bool = False  # the service has the result
    unwritten: Result | None = None  # the result, until it is its turn to be written
    is_done: bool = False  # the result is written
    has_failed: bool = False


def interruption_notice(jobs: Sequence[Job], output: Output) -> Iterator[str]:
    """Yield lines for the person who has interrupted the command.

    The lines say how many recordings are done, which tasks are still running, and how to follow or cancel these tasks
    and fetch their results.
    """
    if len(jobs) > 1:
        yield from _counts(jobs, output)
    running = [job.task_id for job in jobs if job.task_id and not job.is_done and not job.has_failed]
    here = command()
    if len(running) == 1:
        yield f"{running[0]} is still running:"
        yield f"  {here} watch {running[0]}    shows its text as it is transcribed"
        yield f"  {here} cancel {running[0]}    cancels it"
    elif running:
        yield f"{len(running)} are still running in the service:"
        yield f"  {here} list --limit {len(jobs)}    shows the state of each"
        yield f"  {here} watch TASK_ID    shows the text of one as it is transcribed"
        yield f"  {here} cancel TASK_ID...    cancels them"
    if running:
        yield f"Fetch the result{'s' * (len(running) > 1)} later:"
        yield f"  {here} {shlex.join(['result', *output.options(), *running])}"


def _counts(jobs: Sequence[Job], output: Output) -> Iterator[str]:
    where = "printed above" if output.folder is None else f"written to {output.folder}"
    yield f"{sum(job.is_done for job in jobs)} of {len(jobs)} are done, and {where}."
    unsent = [job.label for job in jobs if job.task_id is None and not job.has_failed]
    if unsent:
        yield f"{len(unsent)} not submitted: {listed_names(unsent)}"
