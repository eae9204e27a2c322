"""Submits recordings, follows their tasks and writes the results."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import to_json

from natscribe.cli.console import err, open_client, out
from natscribe.cli.follow import follow
from natscribe.cli.names import file_names, labels_of
from natscribe.cli.notices import notices
from natscribe.cli.show import Display, choose
from natscribe.client import Client, ClientError, command, written
from natscribe.schemas.requests import ResultFormat, SubtitleLimits

UPLOADS = 4  # the number of recordings that are uploaded at once

Create = Callable[[Client, Path | str], Awaitable[str]]


@dataclass
class Outcome:
    """The result of a recording as text, and the warnings about the result."""

    text: str
    notices: list[str] = field(default_factory=list)


@dataclass
class Submission:
    """Submits recordings; its fields say whether to follow the tasks and where to write their results."""

    format: ResultFormat
    output_dir: Path | None
    as_json: bool
    wait: bool
    separate: bool = False  # whether each channel is to be transcribed on its own
    limits: SubtitleLimits = field(default_factory=SubtitleLimits)
    unfinished: list[str] = field(default_factory=list)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS))

    async def run(self, tasks: list[tuple[Path | str, Create]]) -> int:
        """Submit all recordings at the same time, each with the function that creates its task.

        Returns:
            The exit code: 1 if a task failed, else 0.
        """
        labels = labels_of([recording for recording, _ in tasks])
        async with open_client() as client:
            try:
                with choose(as_json=self.as_json) as display:
                    results = await asyncio.gather(
                        *(self._one(client, display, *task, label) for task, label in zip(tasks, labels, strict=True))
                    )
            except asyncio.CancelledError:
                self._print_how_to_continue()
                raise
        for label, name, result in zip(labels, file_names(labels), results, strict=True):
            if result is not None:
                if len(tasks) > 1 and self.output_dir is None and not self.as_json:
                    err.print(f"== {label}")
                self._write(label, name, result)
        failed = [label for label, result in zip(labels, results, strict=True) if result is None]
        if failed and len(tasks) > 1:
            err.print(f"{len(failed)} of {len(tasks)} failed: {', '.join(failed)}", style="red")
        return int(bool(failed))

    async def _one(
        self, client: Client, display: Display, recording: Path | str, create: Create, label: str
    ) -> Outcome | None:
        try:
            async with self.gate:
                task_id = await create(client, recording)
            if not self.wait:
                return Outcome(to_json({"task_id": task_id}).decode() if self.as_json else task_id)
            self.unfinished.append(task_id)
            if not self.as_json:
                err.print(f"{label} is task {task_id}")
            done = await follow(client, display, task_id, label)
            self.unfinished.remove(task_id)
            return await self._outcome(client, task_id, label) if done else None
        except ClientError as error:
            err.print(f"{label}: {error}", style="red")
            return None

    @property
    def _format(self) -> ResultFormat:
        return ResultFormat.JSON if self.as_json else self.format

    async def _outcome(self, client: Client, task_id: str, label: str) -> Outcome:
        result = await client.get_task_result(task_id)
        text = written(result, self._format, self.limits)
        return Outcome(text, notices(label, result, separate=self.separate))

    def _write(self, label: str, name: str, outcome: Outcome) -> None:
        if self.output_dir is not None and self.wait:
            path = self.output_dir / f"{name}.{self._format}"
            path.write_text(outcome.text, encoding="utf-8")
            err.print(f"wrote {path}")
        elif outcome.text.strip():
            out.print(outcome.text.rstrip("\n"))
        else:
            err.print(f"{label}: no speech in it.")
        for notice in outcome.notices:
            err.print(notice, style="yellow")

    def _print_how_to_continue(self) -> None:
        for task_id in self.unfinished:
            err.print(
                f"{task_id} still runs: `{command()} watch {task_id}` shows it, `{command()} cancel {task_id}` ends it."
            )
