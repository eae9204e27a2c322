"""Expands the arguments of commands, i.e. files, folders or patterns, into recordings."""

import glob
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from natscribe.cli.console import UsageError, err
from natscribe.client.recordings import file_problem

_MAX_LISTED_NAMES = 5
RECORDING_SUFFIX = re.compile(  # suffixes of audio or video files that ffmpeg recognises
    r"\.(3g2|3ga|3gp|aac|ac3|aif|aifc|aiff|alac|amr|ape|asf|au|avi|caf|dss|eac3|f4a|f4v|flac|flv|gsm|m2ts|m4a|m4b|m4v"
    r"|mka|mkv|mov|mp1|mp2|mp3|mp4|mpeg|mpg|mts|mxf|oga|ogg|ogv|opus|ra|rf64|rm|rmvb|snd|spx|tta|voc|vob|w64|wav|wave"
    r"|weba|webm|wma|wmv|wv)",
    re.IGNORECASE,
)
URL = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def find_recordings(argument: str, max_bytes: int, *, stored: bool = False) -> Sequence[Path | str]:
    """Return the recordings to which an argument of the command line refers, sorted by name.

    The argument is a file, a folder with recordings in it or in its subfolders, a pattern of files, or, if `stored` is
    set, the name of a recording in AUDIO_STORE. In folders and patterns, hidden files are skipped, and so are files
    without a suffix of audio or video files, whose names are printed on standard error. `max_bytes`: the largest size
    of a recording.

    Raises:
        typer.BadParameter: The argument is a URL, refers to no recording, or to a file that cannot be a recording.
    """
    if (url := URL.match(argument)) is not None:
        raise UsageError(_url_advice(argument, url[1].lower(), stored=stored))
    if stored:
        return [argument]
    path = local_path(argument)
    if path.is_dir():
        return _recordings_among(_files(path), path)
    if glob.has_magic(str(path)) and not path.exists():
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207 -- unlike Path.glob, it skips hidden files
        return _recordings_among([file for file in map(Path, sorted(matches)) if file.is_file()], path)
    return [existing_file(argument, max_bytes)]


def local_path(argument: str) -> Path:
    """Convert an argument into a path.

    A leading `~/` is expanded, because the shell does not expand it in quotes; `~call.wav` stays a file name.
    """
    return Path(argument).expanduser() if argument.startswith("~/") else Path(argument)


def existing_file(argument: str, max_bytes: int) -> Path:
    """Convert an argument into the path of a file, and check that the file can be a recording.

    Raises:
        typer.BadParameter: There is no such file, or the file is empty or larger than `max_bytes`.
    """
    path = local_path(argument)
    if (why := file_problem(path, max_bytes)) is not None:
        raise UsageError(str(why))
    return path


def listed_names(names: Sequence[str]) -> str:
    """Join up to _MAX_LISTED_NAMES names by commas, and append how many more there are."""
    more = len(names) - _MAX_LISTED_NAMES
    return ", ".join(names[:_MAX_LISTED_NAMES]) + (f" and {more} more" if more > 0 else "")


def _url_advice(argument: str, scheme: str, *, stored: bool) -> str:
    if stored:
        return (
            f"{argument} is a URL: with --stored, FILE is the name of the recording in AUDIO_STORE, without the address"
        )
    if scheme == "file":
        return f"{argument} is a URL: name the file by its path"
    return (
        f"{argument} is a URL, and FILE is a file on this computer: download it first; or, if the service reads its "
        "recordings from this web server (AUDIO_STORE=https://...), name it with --stored"
    )


def _recordings_among(files: list[Path], argument: Path) -> list[Path]:
    recordings = [file for file in files if RECORDING_SUFFIX.fullmatch(file.suffix)]
    skipped = [
        str(file.relative_to(argument) if file.is_relative_to(argument) else file)
        for file in files
        if not RECORDING_SUFFIX.fullmatch(file.suffix)
    ]
    if skipped:
        err.print(f"{argument}: skipped files without the suffix of a recording: {listed_names(skipped)}")
    if not recordings:
        message = (
            f"there is no recording in {argument}: name a folder that has some, or the files"
            if argument.is_dir()
            else f"no recording matches {argument}: check the pattern, or name the files"
        )
        raise UsageError(message)
    return recordings


def _files(folder: Path) -> list[Path]:
    files: list[Path] = []
    for parent, folders, names in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(files)


def _refuse(error: OSError) -> NoReturn:
    message = f"the folder {error.filename} cannot be read: {error.strerror}"
    raise UsageError(message) from error
