"""Writes results: to files in a folder, or to standard output."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import typer

from natscribe.cli.console import Terminal, UsageError, err, out, require
from natscribe.cli.turns import turns_table, turns_text
from natscribe.cli.wording import has_speakers
from natscribe.client import format_result
from natscribe.client.results import DEFAULT_LIMITS
from natscribe.formats import encoded
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits

TURNS: Final = "turns"  # a format that only the command has
_FOR_PEOPLE = {TURNS, ResultFormat.TXT, ResultFormat.SRT, ResultFormat.VTT}  # programs read the other formats
_CONCATENABLE = {TURNS, ResultFormat.RTTM, ResultFormat.JSON, ResultFormat.TXT}


class NotWrittenError(Exception):
    """A result could not be written to a file; the message says why."""


@dataclass(frozen=True)
class Output:
    """Where and in which formats a command writes results.

    If `formats` is empty, a transcript is written as `txt` and a diarization as `rttm`; on a terminal, both are written
    as `turns` (a paragraph for each turn of a speaker) if they have speakers. If `folder` is None, results are printed
    to standard output.
    """

    formats: tuple[str, ...] = ()
    folder: Path | None = None
    limits: SubtitleLimits = DEFAULT_LIMITS

    def write(self, name: str, result: Result, recording: Path | None = None) -> str:
        """Write a result to files in the folder, one for each format, and return a text that names the files.

        Each file is written atomically. `name`: the file name without suffix. `recording`: the audio file that an HTML
        page plays; None: the reader of the page chooses a file.

        Raises:
            NotWrittenError: The folder cannot be written to.
            RequestFailedError: This kind of result cannot be written in this format.
        """
        file = (self.folder or Path()) / name
        suffixes: list[str] = []
        is_empty, is_replaced = False, False
        for fmt in self.formats or (_default(result, for_people=False),):
            suffixes.append(".turns.txt" if fmt == TURNS else f".{fmt}")
            content = self._content(result, fmt, recording)
            is_empty = is_empty or not content.strip()
            is_replaced |= _write_atomically(file.with_name(f"{name}{suffixes[-1]}"), encoded(content))
        files = f"{file}{' and '.join(suffixes)}{' (replaced)' if is_replaced else ''}"
        return f"{files}: no speech detected" if is_empty else files

    def show(
        self, console: Terminal, result: Result, *, label: str, heading: bool, recording: Path | None = None
    ) -> None:
        """Print a result on `console`, in the first of this output's formats or, if it has none, in the default format.

        `heading`: whether to print `label` above the result. `recording`: the audio file that an HTML page plays; None:
        the reader of the page chooses a file.

        Raises:
            RequestFailedError: This kind of result cannot be written in this format.
        """
        fmt = self.formats[0] if self.formats else _default(result, for_people=console.is_terminal)
        content = self._content(result, fmt, recording)
        if heading:
            (console if fmt in _FOR_PEOPLE else err).print(f"== {label}")
        if not content.strip():
            err.print(f"{label}: no speech detected.")
        elif fmt == TURNS and console.is_terminal:
            console.print(turns_table(result), soft_wrap=False)
        elif isinstance(content, bytes):
            typer.echo(content, nl=False)
        else:
            console.print_data(content.rstrip("\n"))

    def check_holds(self, results: int) -> None:
        """Check that as many as `results` results can be written to this output.

        A folder has no limit. Standard output takes several results only in formats that can be concatenated, i.e. not
        as subtitles (srt, vtt) or HTML pages.

        Raises:
            typer.BadParameter: Standard output takes only one result in this format.
        """
        if self.folder is None and results > 1 and self.formats and self.formats[0] not in _CONCATENABLE:
            message = f"several results cannot be one {self.formats[0]}: add --output-dir FOLDER for a file each"
            raise UsageError(message)

    def options(self) -> list[str]:
        """Return the options --output-dir and --format that select this output, to repeat them in a suggestion."""
        folder = [] if self.folder is None else ["--output-dir", str(self.folder)]
        return folder + [word for fmt in self.formats for word in ("--format", fmt)]

    def _content(self, result: Result, fmt: str, recording: Path | None) -> str | bytes:
        if fmt == TURNS:
            return turns_text(result)
        link = _link(recording, self.folder or Path()) if recording else None
        return format_result(result, ResultFormat(fmt), self.limits, link)


def make_output(
    formats: Sequence[str] | None,
    folder: Path | None,
    limits: SubtitleLimits,
    *,
    as_json: bool = False,
    wait: bool = True,
) -> Output:
    """Return the output that the options of a command select, and create `folder` unless it is None.

    `as_json`: whether --json is given. `wait`: whether the command waits for results; if not, it accepts neither
    `formats` nor `folder`.

    Raises:
        typer.BadParameter: The options contradict each other, or the folder cannot be written to.
    """
    chosen = tuple(dict.fromkeys(formats or ()))
    later = "--no-wait writes no result: leave --format and --output-dir out, and add them to `result TASK_ID`"
    require(wait or not (chosen or folder), later)
    if folder is None:
        _check_standard_output(chosen, as_json=as_json)
    else:
        _create(folder)
    return Output(chosen or ((ResultFormat.JSON,) if as_json else ()), folder, limits)


def _check_standard_output(formats: tuple[str, ...], *, as_json: bool) -> None:
    require(len(formats) < 2, "several --format go into files: add --output-dir FOLDER")  # noqa: PLR2004
    for fmt in formats:
        is_json = fmt == ResultFormat.JSON
        message = f"--json prints results as JSON: leave --format {fmt} out, or add --output-dir FOLDER"
        require(is_json or not as_json, message)
        what = "a page for a browser" if fmt == ResultFormat.HTML else "not text"
        message = f"--format {fmt} is {what}: add --output-dir FOLDER, or > FILE.{fmt}"
        is_for_terminals = fmt == TURNS or (fmt != ResultFormat.HTML and ResultFormat(fmt).is_text)
        require(is_for_terminals or not out.is_terminal, message)


def _default(result: Result, *, for_people: bool) -> str:
    if for_people and has_speakers(result):
        return TURNS
    return ResultFormat.RTTM if isinstance(result, DiarizationResult) else ResultFormat.TXT


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--output-dir {folder} cannot be created: {error.strerror}"
        raise UsageError(message) from error
    message = f"--output-dir {folder} cannot be written to: choose another folder, or change its permissions"
    require(os.access(folder, os.W_OK | os.X_OK), message)


def _link(recording: Path, folder: Path) -> str:
    """Return the relative URL of a recording for an HTML page that is stored in `folder`."""
    return quote(os.fsencode(os.path.relpath(recording, folder)))


def _write_atomically(file: Path, content: bytes) -> bool:
    """Write a file atomically; return whether it replaced an older file.

    Raises:
        NotWrittenError: The file cannot be written.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        is_replaced = file.exists()
        part.replace(file)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        message = f"{file} could not be written: {error.strerror}."
        raise NotWrittenError(message) from error
    return is_replaced
