"""Says what is done and what goes on when a person ends the command with Ctrl-C."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from natscribe.client import command


class Job(Protocol):
    """What is told of a recording."""

    label: str
    task_id: str | None
    is_done: bool
    has_failed: bool


def how_to_continue(jobs: Sequence[Job], folder: Path | None) -> Iterator[str]:
    """Yield lines: how many recordings are done, which tasks go on, and how to come back to these."""
    here = command()
    if len(jobs) > 1:
        where = "printed above" if folder is None else f"written to {folder}"
        yield f"{sum(job.is_done for job in jobs)} of {len(jobs)} are done, and {where}."
        unsent = [job.label for job in jobs if job.task_id is None and not job.has_failed]
        if unsent:
            yield f"{len(unsent)} were not sent: {', '.join(unsent)}"
    running = [job.task_id for job in jobs if job.task_id and not job.is_done and not job.has_failed]
    if not running:
        return
    is_one = len(running) == 1
    shown = running[0] if is_one else "TASK_ID"
    yield f"{running[0]} still runs:" if is_one else f"{len(running)} still run:"
    if not is_one:
        yield f"  {here} list --limit {len(jobs)}    shows the state of each"
    yield f"  {here} watch {shown}    shows its text as it is found"
    yield f"  {here} cancel {shown}    ends it"
    into = "" if folder is None else f"--output-dir {folder} "
    yield "Fetch the result later:" if is_one else "Fetch their results later:"
    yield f"  {here} result {into}{' '.join(running)}"
