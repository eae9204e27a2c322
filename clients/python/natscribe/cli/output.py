"""Writes results: into files of a folder, or to the terminal."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

import typer
from rich.console import Console

from natscribe.cli.console import err, out
from natscribe.cli.turns import turns_table, turns_text
from natscribe.cli.wording import has_speakers
from natscribe.client import format_result
from natscribe.client.results import DEFAULT_LIMITS
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits


class Format(str, Enum):
    """Formats of results: those of the service, and `turns`, which the command makes."""

    TXT = ResultFormat.TXT.value
    TURNS = "turns"
    SRT = ResultFormat.SRT.value
    VTT = ResultFormat.VTT.value
    RTTM = ResultFormat.RTTM.value
    HTML = ResultFormat.HTML.value
    JSON = ResultFormat.JSON.value


class TurnsFormat(str, Enum):
    """Formats of diarization results, which have turns and no text."""

    RTTM = Format.RTTM.value
    TURNS = Format.TURNS.value
    HTML = Format.HTML.value
    JSON = Format.JSON.value


_SELF_DESCRIBING = {Format.RTTM, Format.JSON, Format.HTML}  # they name the task or recording; programs read them
_CONCATENABLE = {Format.RTTM, Format.JSON, Format.TXT, Format.TURNS}


class NotWrittenError(Exception):
    """A result could not be written to a file."""


@dataclass(frozen=True)
class Output:
    """Where results go, and their formats; (): speakers' turns on a terminal, else text, or rttm for a diarization."""

    formats: tuple[Format, ...] = ()
    folder: Path | None = None
    limits: SubtitleLimits = DEFAULT_LIMITS

    def write(self, name: str, result: Result, recording: Path | None = None) -> str:
        """Write a result into the folder, a file for each format, and return a description of these files.

        Each file is written atomically. A page plays `recording` if it is given.

        Raises:
            NotWrittenError: The folder cannot be written to.
            RequestFailedError: This kind of result cannot be written in this format.
        """
        file = (self.folder or Path()) / name
        suffixes: list[str] = []
        is_empty, is_replaced = False, False
        for fmt in self.formats or (_default(result, for_people=False),):
            suffixes.append(".turns.txt" if fmt is Format.TURNS else f".{fmt.value}")
            text = self._text(result, fmt, recording)
            is_empty = is_empty or not text.strip()
            is_replaced |= _write_atomically(file.with_name(f"{name}{suffixes[-1]}"), text)
        files = f"{file}{' and '.join(suffixes)}{' (replaced)' if is_replaced else ''}"
        return f"{files}: no speech detected" if is_empty else files

    def show(
        self, console: Console, result: Result, *, label: str, heading: bool, recording: Path | None = None
    ) -> None:
        """Print a result in one format, below its label if `heading` is set. A page plays `recording` if it is given.

        Raises:
            RequestFailedError: This kind of result cannot be written in this format.
        """
        fmt = self.formats[0] if self.formats else _default(result, for_people=console.is_terminal)
        text = self._text(result, fmt, recording)
        if heading:
            (err if fmt in _SELF_DESCRIBING else console).print(f"== {label}")
        if not text.strip():
            err.print(f"{label}: no speech detected.")
        elif fmt is Format.TURNS and console.is_terminal:
            console.print(turns_table(result), soft_wrap=False)
        else:
            console.print(text.rstrip("\n"))

    def check_holds(self, results: int) -> None:
        """Check that this number of results can be concatenated on standard output.

        Raises:
            typer.BadParameter: This format allows one result only.
        """
        if self.folder is None and results > 1 and self.formats and self.formats[0] not in _CONCATENABLE:
            message = f"several results cannot be one {self.formats[0].value}: add --output-dir FOLDER for a file each"
            raise typer.BadParameter(message)

    def options(self) -> list[str]:
        """Return the command-line options that select this output, except the limits of subtitles."""
        folder = [] if self.folder is None else ["--output-dir", str(self.folder)]
        return folder + [word for fmt in self.formats for word in ("--format", fmt.value)]

    def _text(self, result: Result, fmt: Format, recording: Path | None) -> str:
        if fmt is Format.TURNS:
            return turns_text(result)
        link = _link(recording, self.folder or Path()) if recording else None
        return format_result(result, ResultFormat(fmt.value), self.limits, link)


def make_output(
    formats: Sequence[Format] | None,
    folder: Path | None,
    limits: SubtitleLimits,
    *,
    as_json: bool = False,
    wait: bool = True,
) -> Output:
    """Make the output from the options, and create its folder; without `wait` there is no result to write.

    Raises:
        typer.BadParameter: The options do not go together, or the folder cannot be written to.
    """
    chosen = tuple(dict.fromkeys(formats or ()))
    if not wait and (chosen or folder is not None):
        message = "--no-wait writes no result: leave --format and --output-dir out, and add them to `result TASK_ID`"
        raise typer.BadParameter(message)
    if folder is None:
        _check_standard_output(chosen, as_json=as_json)
    else:
        _create(folder)
    return Output(chosen or ((Format.JSON,) if as_json else ()), folder, limits)


def _check_standard_output(formats: tuple[Format, ...], *, as_json: bool) -> None:
    if len(formats) > 1:
        message = "several --format go into files: add --output-dir FOLDER"
        raise typer.BadParameter(message)
    if as_json and formats not in {(), (Format.JSON,)}:
        message = f"--json prints results as JSON: leave --format {formats[0].value} out, or add --output-dir FOLDER"
        raise typer.BadParameter(message)
    if Format.HTML in formats and out.is_terminal:
        message = "--format html is a page for a browser: add --output-dir FOLDER, or > FILE.html"
        raise typer.BadParameter(message)


def _default(result: Result, *, for_people: bool) -> Format:
    if for_people and has_speakers(result):
        return Format.TURNS
    return Format.RTTM if isinstance(result, DiarizationResult) else Format.TXT


def _create(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"--output-dir {folder} cannot be created: {error.strerror}"
        raise typer.BadParameter(message) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        message = f"--output-dir {folder} cannot be written to: choose another folder, or change its permissions"
        raise typer.BadParameter(message)


def _link(recording: Path, folder: Path) -> str:
    """Return the relative address of a recording, for a page in a folder."""
    return quote(os.fsencode(os.path.relpath(recording, folder)))


def _write_atomically(file: Path, text: str) -> bool:
    """Write a file, and return whether it replaces an older file."""
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        is_replaced = file.exists()
        part.replace(file)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        message = f"{file} could not be written: {error.strerror}."
        raise NotWrittenError(message) from error
    return is_replaced
