"""Submits recordings, follows their tasks, and writes each result when its task has completed."""

import asyncio
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import to_json

from natscribe.cli.bars import choose_display
from natscribe.cli.console import ERROR, WARNING, err, open_client, out, print_above
from natscribe.cli.display import Display, ShownText
from natscribe.cli.folders import listed_names
from natscribe.cli.follow import follow
from natscribe.cli.names import result_file_names, unique_file_names, unique_labels
from natscribe.cli.notices import RequestedOptions, notices
from natscribe.cli.output import NotWrittenError, Output
from natscribe.cli.wording import has_speakers
from natscribe.client import Client, ClientError, OptionError, command
from natscribe.schemas.kinds import Result

UPLOADS = 4  # the number of recordings that are uploaded at once

CreateTask = Callable[[Client, Path | str], Awaitable[str]]


@dataclass
class Job:
    """A recording that the command submits, the state of its task, and the task's result until it is written.

    `create`: submits the task and returns its id. `label`: the name on the screen.
    """

    recording: Path | str
    create: CreateTask
    label: str
    name: str  # of the result files, without the suffix
    task_id: str | None = None
    is_completed: bool = False  # whether the task has completed, so that the service has its result
    unwritten: Result | None = None  # the result, from its download until it is written
    is_done: bool = False  # whether the result is written
    has_failed: bool = False


@dataclass
class Submission:
    """Submits recordings, follows their tasks if `wait` is set, and writes the results to `output`.

    `as_json`: whether to print events and task ids as JSON. `requested`: the options about which warnings are printed
    if a result does not fulfil them. `gate`: limits the number of concurrent uploads.
    """

    output: Output
    as_json: bool
    wait: bool
    is_text_final: bool = True  # whether the result has the same text that is shown while the task runs
    requested: RequestedOptions = field(default_factory=RequestedOptions)
    files: Sequence[str] = ()  # the FILE arguments of the command line
    model: str | None = None  # checked before recordings are uploaded
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS))

    async def run(self, tasks: list[tuple[Path | str, CreateTask]]) -> int:
        """Submit all recordings concurrently, follow their tasks if `wait` is set, and return the exit code.

        `tasks`: each recording, with the function that creates its task.

        Returns:
            1 if a task has failed, or 0.
        """
        labels = unique_labels([recording for recording, _ in tasks])
        names = result_file_names(unique_file_names(labels), self.output.folder)
        jobs = [Job(*task, label, name) for task, label, name in zip(tasks, labels, names, strict=True)]
        if self.wait:
            self.output.check_holds(len(jobs))
        try:
            with choose_display(as_json=self.as_json, shown=self._shown_text(jobs), tasks=len(jobs)) as display:
                await self._run(display, jobs)
        except asyncio.CancelledError:
            for line in interruption_notice(jobs, self.output, self.files):
                err.print(line)
            raise
        if not self.wait:
            self._print_ids(jobs)
        failed = [job.label for job in jobs if job.has_failed]
        if failed and len(jobs) > 1:
            err.print(f"{len(failed)} of {len(jobs)} failed: {', '.join(failed)}", style=ERROR)
        return int(bool(failed))

    def _shown_text(self, jobs: list[Job]) -> ShownText:
        """Return how much of a task's text the display shows while the task runs.

        Text that the command prints again with the result is not shown before, apart from the newest segment, which
        the display replaces.
        """
        if len(jobs) > 1 or not out.is_terminal:
            return ShownText.NONE
        if self.output.folder:
            return ShownText.ALL
        return ShownText.MIXED_CHANNELS if self.is_text_final and not self.output.formats else ShownText.LAST_SEGMENT

    async def _run(self, display: Display, jobs: list[Job]) -> None:
        labels = {job.recording: job.label for job in jobs}

        def on_upload(recording: Path, sent: int) -> None:
            display.upload(labels[recording], sent, recording.stat().st_size)

        try:
            async with open_client(on_upload) as client:
                await _check_model(client, self.model)
                await asyncio.gather(*(self._process(client, display, job, jobs) for job in jobs))
        finally:
            self._print_in_order(display, jobs, skip_missing=True)

    async def _process(self, client: Client, display: Display, job: Job, jobs: list[Job]) -> None:
        try:
            async with self.gate:
                job.task_id = await job.create(client, job.recording)
            if self.wait:
                display.task_created(job.label, job.task_id)
                job.is_completed = await follow(client, display, job.task_id, job.label, tasks=len(jobs))
                job.has_failed = not job.is_completed
            if job.is_completed:
                job.unwritten = await client.get_task_result(job.task_id)
        except ClientError as error:
            _report_failure(job, error)
        if self.as_json or self.output.folder is not None:
            self._write(display, job, heading=False)
        else:
            self._print_in_order(display, jobs)
        display.end(job.label, failed=job.has_failed)

    def _print_in_order(self, display: Display, jobs: list[Job], *, skip_missing: bool = False) -> None:
        """Print the results that have arrived, in the order of their recordings.

        A result is printed only after the results of all earlier recordings, apart from recordings that have failed.
        `skip_missing`: print all results that have arrived, even if results of earlier recordings are missing.
        """
        for job in jobs:
            self._write(display, job, heading=len(jobs) > 1)
            if not (skip_missing or job.is_done or job.has_failed):
                return

    def _write(self, display: Display, job: Job, *, heading: bool) -> None:
        """Write the result of a recording to a file, or print it, if it has arrived and is not written yet.

        `heading`: whether to print the label of the recording above the result.
        """
        result, job.unwritten = job.unwritten, None
        if result is None:
            return
        recording = job.recording if isinstance(job.recording, Path) else None
        try:
            if self.output.folder is not None:
                err.print(f"wrote {self.output.write(job.name, result, recording)}")
            elif self.output.formats or has_speakers(result) or not _is_shown(display, result):
                if display.shown_segments:
                    display.text.print()
                self.output.show(display.text, result, label=job.label, heading=heading, recording=recording)
        except (ClientError, NotWrittenError) as error:
            _report_failure(job, error)
            return
        job.is_done = True
        for notice in notices(job.label, result, self.requested):
            print_above(notice, WARNING)

    def _print_ids(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.task_id is not None:
                out.print_data(to_json({"task_id": job.task_id}).decode() if self.as_json else job.task_id)


async def _check_model(client: Client, model: str | None) -> None:
    """Check that a worker offers the model; without a worker, or without its list, the task itself will tell.

    Raises:
        OptionError: No worker offers it.
    """
    if model is None:
        return
    try:
        offers = [info.models for info in await client.workers()]
    except ClientError:
        return
    if offers and not any(models is None or model in models for models in offers):
        names = sorted({name for models in offers for name in models or ()})
        message = f"no worker offers the model {model}: leave --model out, or choose {' or '.join(names)}"
        raise OptionError(message)


def _is_shown(display: Display, result: Result) -> bool:
    shown = display.shown_segments
    return bool(shown) and shown == [getattr(segment, "text", None) for segment in result.segments]


def _report_failure(job: Job, error: Exception) -> None:
    job.has_failed = True
    fetch = f" `{command()} result {job.task_id}` prints the result." if job.is_completed else ""
    print_above(f"{job.label}: {error}{fetch}", ERROR)


def interruption_notice(jobs: Sequence[Job], output: Output, files: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines that the command prints when Ctrl-C interrupts it.

    They say how many recordings are done, how to submit the rest, which tasks are still running, and how to follow or
    cancel these tasks and fetch their results. `files`: the FILE arguments of the command.
    """
    if len(jobs) > 1:
        yield from _counts(jobs, output, files)
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


def _counts(jobs: Sequence[Job], output: Output, files: Sequence[str]) -> Iterator[str]:
    where = "printed above" if output.folder is None else f"written to {output.folder}"
    yield f"{sum(job.is_done for job in jobs)} of {len(jobs)} are done, and {where}."
    unsent = [job for job in jobs if job.task_id is None and not job.has_failed]
    if unsent:
        options = [argument for argument in sys.argv[1:] if argument not in files]
        yield f"{len(unsent)} not submitted: {listed_names([job.label for job in unsent])}. Submit the rest:"
        yield f"  {command()} {shlex.join([*options, *(str(job.recording) for job in unsent)])}"
