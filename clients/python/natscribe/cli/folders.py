"""Finds the recordings in folders that are given as arguments."""

import os
import re
from pathlib import Path
from typing import NoReturn

import typer

from natscribe.cli.console import err

SHOWN = 5  # at most this number of skipped files is listed by name
RECORDING = re.compile(  # suffixes of sound or video files that ffmpeg recognises
    r"\.(3g2|3ga|3gp|aac|ac3|aif|aifc|aiff|alac|amr|ape|asf|au|avi|caf|dss|eac3|f4a|f4v|flac|flv|gsm|m2ts|m4a|m4b|m4v"
    r"|mka|mkv|mov|mp1|mp2|mp3|mp4|mpeg|mpg|mts|mxf|oga|ogg|ogv|opus|ra|rf64|rm|rmvb|snd|spx|tta|voc|vob|w64|wav|wave"
    r"|weba|webm|wma|wmv|wv)",
    re.IGNORECASE,
)


def recordings_of(argument: Path) -> list[Path]:
    """Return the argument itself or, for a folder, the recordings in it and in its subfolders, sorted by name.

    Hidden files are left out. Files without the suffix of a recording are listed on standard error.

    Raises:
        typer.BadParameter: The folder cannot be read, or it has no recording.
    """
    if not argument.is_dir():
        return [argument]
    files = _files(argument)
    found = [file for file in files if RECORDING.fullmatch(file.suffix)]
    others = [str(file.relative_to(argument)) for file in files if not RECORDING.fullmatch(file.suffix)]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        err.print(
            f"{argument}: left out, because their names are not those of recordings: {', '.join(others[:SHOWN])}{more}"
        )
    if not found:
        message = f"there is no recording in {argument}: name a folder that has some, or the files"
        raise typer.BadParameter(message)
    return found


def _files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _refuse(error: OSError) -> NoReturn:
    message = f"the folder {error.filename} cannot be read: {error.strerror}"
    raise typer.BadParameter(message) from error
