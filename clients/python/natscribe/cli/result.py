"""The subcommand `result`: prints the results of tasks, or writes them to files."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli import options
from natscribe.cli.console import WARNING, err, out, require, run_with_client
from natscribe.cli.names import recording_name, result_file_names, unique_task_names
from natscribe.cli.notices import notices
from natscribe.cli.output import Output, make_output
from natscribe.cli.status import next_step
from natscribe.cli.task import SeveralTasks, for_each_task
from natscribe.client import Client, RequestFailedError, command
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat

Formats = Annotated[
    list[str] | None,
    options.format_option(
        ResultFormat,
        ": by default txt, the text without times, but `turns` (who says what when) on a "
        "terminal if there are speakers, and rttm for a diarization",
    ),
]
Audio = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The recording that the page of --format html plays: the page has a link to it."),
]
RedactedAudio = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the recording without personal data to this FLAC file: see --redact-audio."
    ),
]


def result(  # noqa: PLR0913 -- the options of the command
    task_ids: SeveralTasks,
    *,
    result_format: Formats = None,
    max_line_chars: options.MaxLineChars = None,
    max_lines: options.MaxLines = None,
    max_cue_seconds: options.MaxCueSeconds = None,
    output_dir: options.OutputDir = None,
    audio: Audio = None,
    redacted_audio: RedactedAudio = None,
) -> None:
    """Print results, or write each to a file.

    The file has the name of the recording; of two tasks with the same recording, the later one has its task id.
    """
    _check_audio(audio, task_ids, result_format)
    if redacted_audio is not None:
        require(len(task_ids) == 1, "--redacted-audio is the recording of one task, but there are several TASK_IDs")
        run_with_client(lambda client: _download(client, task_ids[0], redacted_audio))
    limits = options.subtitle_limits(result_format, max_line_chars, max_lines, max_cue_seconds)
    output = make_output(result_format, output_dir, limits)
    output.check_holds(len(set(task_ids)))

    async def work(client: Client) -> int:
        names = {} if output.folder is None else await _file_names(client, task_ids, output)

        async def fetch(task_id: str) -> None:
            task_result = await _result(client, task_id)
            if output.folder is None:
                output.show(out, task_result, label=task_id, heading=len(task_ids) > 1, recording=audio)
            else:
                err.print(f"wrote {output.write(names[task_id], task_result, audio)}")
            for notice in notices(task_id, task_result):
                err.print(notice, style=WARNING)

        return await for_each_task(task_ids, fetch)

    run_with_client(work)


async def _download(client: Client, task_id: str, path: Path) -> None:
    await client.download_redacted_audio(task_id, path)
    err.print(f"wrote {path}")


def _check_audio(audio: Path | None, task_ids: list[str], formats: list[str] | None) -> None:
    """Check the option --audio, if given: the file exists, and the result of only one task is written as an HTML page.

    Raises:
        typer.BadParameter: The file does not exist, there are several tasks, or `html` is not among the formats.
    """
    if audio is None:
        return
    require(ResultFormat.HTML in (formats or ()), "--audio is for pages: add --format html")
    require(len(task_ids) == 1, "--audio is the recording of one task, but there are several TASK_IDs")
    require(audio.is_file(), f"there is no file {audio}: check the name")


async def _result(client: Client, task_id: str) -> Result:
    """Return the result of a task.

    Raises:
        RequestFailedError: The task has no result; the message says which command to run next.
    """
    try:
        return await client.get_task_result(task_id)
    except RequestFailedError as error:
        if error.code is ErrorCode.NOT_FINISHED:
            message = f"{task_id} has not ended: `{command()} watch {task_id}` waits for it, then repeat this command."
        elif error.code is ErrorCode.NOT_FOUND:
            status = await client.get_task_progress(task_id)  # raises an error if the task is unknown
            message = f"{task_id} is {status.state} and has no result. Next: {next_step(status)}."
        else:
            raise
        raise RequestFailedError(ErrorDetail(code=error.code, message=message)) from error


async def _file_names(client: Client, task_ids: list[str], output: Output) -> dict[str, str]:
    """Return for each task id the name of the task's result file, without the suffix of the format."""
    recordings = {task_id: task_id for task_id in task_ids}
    for task_id in recordings:
        with suppress(RequestFailedError):  # fetching the result raises it again, and prints it
            task = (await client.get_task_progress(task_id)).task
            if task is not None:
                recordings[task_id] = recording_name(task.audio_file_id, task_id)
    return dict(zip(recordings, result_file_names(unique_task_names(recordings), output.folder), strict=True))
