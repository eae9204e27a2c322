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
    running = [job.task_id for job in jobs if job.task_id and not job.is_done and not job.has_failed]
    if len(jobs) > 1:
        where = "printed above" if folder is None else f"written to {folder}"
        yield f"{sum(job.is_done for job in jobs)} of {len(jobs)} are done, and {where}."
        unsent = [job.label for job in jobs if job.task_id is None and not job.has_failed]
        if unsent:
            yield f"{len(unsent)} were not sent: {', '.join(unsent)}"
    if not running:
        return
    ids = " ".join(running)
    into = "" if folder is None else f" --output-dir {folder}"
    one = "it" if len(running) == 1 else "one"
    yield f"{ids} still runs:" if len(running) == 1 else f"{len(running)} still run:"
    yield f"  {here} watch {running[0]}    shows {one}"
    yield f"  {here} result {ids}{into}    fetches what has ended"
    yield f"  {here} cancel {running[0]}    ends {one}"
