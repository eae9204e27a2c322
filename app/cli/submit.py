"""`transcribe` and `diarize`: hand recordings over, follow them, and give out what came of them."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic_core import to_json

from app.cli.console import err, open_client, out, run_and_exit
from app.cli.follow import follow
from app.cli.limits import MaxCueSeconds, MaxLineChars, MaxLines, chosen
from app.cli.names import file_names, labels_of
from app.cli.show import Display, choose
from app.client import Client, ClientError, command
from schemas.requests import ResultFormat, SubtitleLimits
from schemas.wire import Priority

UPLOADS = 4  # at once

Create = Callable[[Client, Path | str], Awaitable[str]]

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="Recordings, of any kind that ffmpeg reads.")]
Stored = Annotated[bool, typer.Option(help="FILE is the id of a recording that the service's store has already.")]
TaskIdOption = Annotated[str | None, typer.Option(help="Your own id for the task; for one FILE only.")]
User = Annotated[int, typer.Option(help="Whom the task belongs to.")]
Fewest = Annotated[int | None, typer.Option(help="There are at least so many speakers.")]
Most = Annotated[int | None, typer.Option(help="There are at most so many speakers.")]
PriorityOption = Annotated[
    Priority | None, typer.Option(help="By default short recordings are high, long ones low.", show_default=False)
]
Format = Annotated[ResultFormat, typer.Option("--format", help="How the result is written.")]
OutputDir = Annotated[Path | None, typer.Option(help="Write results there, not to standard output.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="One JSON object a line: the task's ProgressEvent and SegmentsEvent messages, its result last "
        "(with --output-dir in a file); with --no-wait its id.",
    ),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the tasks, or only print their ids.")]


class TurnsFormat(StrEnum):
    """How turns can be written: there is no text."""

    RTTM = ResultFormat.RTTM.value
    JSON = ResultFormat.JSON.value


@dataclass
class Submission:
    """Recordings on their way, and where their results go."""

    create: Create
    format: ResultFormat
    output_dir: Path | None
    as_json: bool
    wait: bool
    limits: SubtitleLimits = field(default_factory=SubtitleLimits)
    unfinished: list[str] = field(default_factory=list)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(UPLOADS))

    async def run(self, recordings: list[Path | str]) -> int:
        """Work off all recordings at once; 1 if any of them came to nothing."""
        labels = labels_of(recordings)
        async with open_client() as client:
            try:
                with choose(as_json=self.as_json) as display:
                    results = await asyncio.gather(
                        *(self._one(client, display, *each) for each in zip(recordings, labels, strict=True))
                    )
            except asyncio.CancelledError:
                self._tell_how_to_go_on()
                raise
        for label, name, result in zip(labels, file_names(labels), results, strict=True):
            if result is not None:
                if len(recordings) > 1 and self.output_dir is None and not self.as_json:
                    err.print(f"== {label}")
                self._give_out(label, name, result)
        failed = [label for label, result in zip(labels, results, strict=True) if result is None]
        if failed and len(recordings) > 1:
            err.print(f"{len(failed)} of {len(recordings)} failed: {', '.join(failed)}", style="red")
        return int(bool(failed))

    async def _one(self, client: Client, display: Display, recording: Path | str, label: str) -> str | None:
        try:
            async with self.gate:
                task_id = await self.create(client, recording)
            if not self.wait:
                return to_json({"task_id": task_id}).decode() if self.as_json else task_id
            self.unfinished.append(task_id)
            if not self.as_json:
                err.print(f"{label} is task {task_id}")
            done = await follow(client, display, task_id, label)
            self.unfinished.remove(task_id)
            return await self._result(client, task_id) if done else None
        except ClientError as error:
            err.print(f"{label}: {error}", style="red")
            return None

    async def _result(self, client: Client, task_id: str) -> str:
        fmt = ResultFormat.JSON if self.as_json else self.format
        found = await client.get_task_result(task_id, fmt, limits=self.limits)
        return found if isinstance(found, str) else found.model_dump_json()

    def _give_out(self, label: str, name: str, result: str) -> None:
        if self.output_dir is None or not self.wait:
            if result.strip():
                out.print(result.rstrip("\n"))
            else:
                err.print(f"{label}: nothing is said in it.")
            return
        kind = ResultFormat.JSON if self.as_json else self.format
        path = self.output_dir / f"{name}.{kind}"
        path.write_text(result, encoding="utf-8")
        err.print(f"wrote {path}")

    def _tell_how_to_go_on(self) -> None:
        for task_id in self.unfinished:
            err.print(
                f"{task_id} goes on: `{command()} watch {task_id}` shows it, `{command()} cancel {task_id}` ends it."
            )


def transcribe(  # noqa: PLR0913 -- the task's fields
    files: Files,
    *,
    model: Annotated[str | None, typer.Option(help="A published size or one of the service's models.")] = None,
    language: Annotated[str | None, typer.Option(help="ISO 639-1; detected where not given.")] = None,
    diarize: Annotated[bool, typer.Option("--diarize", help="Tell who speaks.")] = False,
    min_speakers: Fewest = None,
    max_speakers: Most = None,
    word_timestamps: Annotated[bool, typer.Option("--word-timestamps", help="Give each word its time.")] = False,
    user_id: User = 0,
    task_id: TaskIdOption = None,
    priority: PriorityOption = None,
    stored: Stored = False,
    result_format: Format = ResultFormat.TXT,
    max_line_chars: MaxLineChars = None,
    max_lines: MaxLines = None,
    max_cue_seconds: MaxCueSeconds = None,
    output_dir: OutputDir = None,
    as_json: Json = False,
    wait: Wait = True,
) -> None:
    """Turn recordings into text; they stay in the service's store until the task is deleted."""
    if not diarize:
        _refuse_speakers(min_speakers, max_speakers, result_format)

    async def create(client: Client, recording: Path | str) -> str:
        return await client.create_transcription_task(
            recording,
            user_id=user_id,
            task_id=task_id,
            model=model,
            language=language,
            diarize=diarize,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
            word_timestamps=word_timestamps,
            priority=priority,
        )

    limits = chosen(result_format, max_line_chars, max_lines, max_cue_seconds)
    submission = Submission(create, result_format, output_dir, as_json=as_json, wait=wait, limits=limits)
    _submit(files, task_id, submission, stored=stored)


def _refuse_speakers(fewest: int | None, most: int | None, result_format: ResultFormat) -> None:
    """Rather say what is missing than ignore an option (typer.BadParameter)."""
    if (fewest, most) != (None, None):
        message = "--min-speakers and --max-speakers tell speakers apart: add --diarize"
        raise typer.BadParameter(message)
    if result_format is ResultFormat.RTTM:
        message = "rttm says who speaks when: add --diarize, or choose another --format"
        raise typer.BadParameter(message)


def diarize(  # noqa: PLR0913 -- the task's fields
    files: Files,
    *,
    min_speakers: Fewest = None,
    max_speakers: Most = None,
    user_id: User = 0,
    task_id: TaskIdOption = None,
    priority: PriorityOption = None,
    stored: Stored = False,
    result_format: Annotated[TurnsFormat, typer.Option("--format", help="How it is written.")] = TurnsFormat.RTTM,
    output_dir: OutputDir = None,
    as_json: Json = False,
    wait: Wait = True,
) -> None:
    """Find out who speaks when; recordings stay in the service's store until the task is deleted."""

    async def create(client: Client, recording: Path | str) -> str:
        return await client.create_diarization_task(
            recording,
            user_id=user_id,
            task_id=task_id,
            min_speakers=min_speakers,
            max_speakers=max_speakers,
            priority=priority,
        )

    submission = Submission(create, ResultFormat(result_format), output_dir, as_json=as_json, wait=wait)
    _submit(files, task_id, submission, stored=stored)


def _submit(files: list[str], task_id: str | None, submission: Submission, *, stored: bool) -> NoReturn:
    if task_id is not None and len(files) > 1:
        message = "--task-id names one task, but there are several files"
        raise typer.BadParameter(message)
    if submission.output_dir is not None:
        try:
            submission.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"--output-dir {submission.output_dir} cannot be made: {error.strerror}"
            raise typer.BadParameter(message) from error
    run_and_exit(submission.run([each if stored else Path(each) for each in files]))
