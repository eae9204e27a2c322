"""Submits recordings, follows their tasks, and writes each result when its task has ended."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import to_json

from natscribe.cli.console import ERROR, WARNING, err, open_client, out, print_above
from natscribe.cli.display import Display
from natscribe.cli.follow import follow
from natscribe.cli.jobs import Create, Job, how_to_continue
from natscribe.cli.names import file_names, labels_of
from natscribe.cli.notices import notices
from natscribe.cli.results import NotWrittenError, Output
from natscribe.cli.show import choose
from natscribe.cli.wording import has_speakers
from natscribe.client import Client, ClientError, command
from natscribe.formats import Result

UPLOADS = 4  # the number of recordings that are uploaded at once


@dataclass
class Submission:
    """Submits recordings; its fields say whether to follow the tasks and where to write their results."""

    output: Output
    as_json: bool
    wait: bool
    separate: bool = False  # whether each channel is to be transcribed on its own
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS))

    async def run(self, tasks: list[tuple[Path | str, Create]]) -> int:
        """Submit all recordings at the same time, each with the function that creates its task.

        Returns:
            The exit code: 1 if a task failed, else 0.
        """
        labels = labels_of([recording for recording, _ in tasks])
        names = file_names(labels)
        jobs = [Job(*task, label, name) for task, label, name in zip(tasks, labels, names, strict=True)]
        live = len(jobs) == 1 and out.is_terminal
        try:
            with choose(as_json=self.as_json, segments=live, tasks=len(jobs)) as display:
                await self._run(display, jobs)
        except asyncio.CancelledError:
            for line in how_to_continue(jobs, self.output):
                err.print(line)
            raise
        if not self.wait:
            self._print_ids(jobs)
        failed = [job.label for job in jobs if job.has_failed]
        if failed and len(jobs) > 1:
            err.print(f"{len(failed)} of {len(jobs)} failed: {', '.join(failed)}", style=ERROR)
        return int(bool(failed))

    async def _run(self, display: Display, jobs: list[Job]) -> None:
        labels = {job.recording: job.label for job in jobs}

        def on_upload(recording: Path, sent: int) -> None:
            display.upload(labels[recording], sent, recording.stat().st_size)

        async with open_client(on_upload) as client:
            await asyncio.gather(*(self._one(client, display, job, len(jobs)) for job in jobs))

    async def _one(self, client: Client, display: Display, job: Job, count: int) -> None:
        try:
            async with self.gate:
                job.task_id = await job.create(client, job.recording)
            if self.wait:
                display.begin(job.label, job.task_id)
                job.is_completed = await follow(client, display, job.task_id, job.label, tasks=count)
                job.has_failed = not job.is_completed
            if job.is_completed:
                self._write(display, job, await client.get_task_result(job.task_id), heading=count > 1)
        except (ClientError, NotWrittenError) as error:
            job.has_failed = True
            fetch = f" `{command()} result {job.task_id}` prints the result." if job.is_completed else ""
            print_above(f"{job.label}: {error}{fetch}", ERROR)
        display.end(job.label, failed=job.has_failed)

    def _write(self, display: Display, job: Job, result: Result, *, heading: bool) -> None:
        recording = job.recording if isinstance(job.recording, Path) else None
        if self.output.folder is not None:
            err.print(f"wrote {self.output.write(job.name, result, recording)}")
        elif self.output.formats or has_speakers(result) or not _is_shown(display, result):
            if display.found:
                display.text.print()
            is_headed = heading and not self.as_json
            self.output.show(display.text, result, label=job.label, heading=is_headed, recording=recording)
        job.is_done = True
        for notice in notices(job.label, result, separate=self.separate):
            print_above(notice, WARNING)

    def _print_ids(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.task_id is not None:
                out.print(to_json({"task_id": job.task_id}).decode() if self.as_json else job.task_id)


def _is_shown(display: Display, result: Result) -> bool:
    return bool(display.found) and display.found == [getattr(segment, "text", None) for segment in result.segments]
