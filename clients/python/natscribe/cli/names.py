"""Generates unique names for recordings on the screen, and for the files of their results."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, count
from pathlib import Path

from natscribe.cli.folders import RECORDING_SUFFIX

_SUFFIX = re.compile(rf"({RECORDING_SUFFIX.pattern})(?=( \(\d+\))?$)", re.IGNORECASE)  # "a.wav (2)" is a repeated name
_MAX_NAME_BYTES = 200  # an `audio_file_id` may be longer than the name of a file


def unique_labels(recordings: list[Path | str]) -> list[str]:
    """Return a unique label for each recording: its file name, or its path if another recording has the same name."""
    names = [Path(recording).name for recording in recordings]
    uses = Counter(map(_key, names))
    return _numbered(
        name if uses[_key(name)] == 1 else str(recording) for name, recording in zip(names, recordings, strict=True)
    )


def unique_file_names(labels: list[str]) -> list[str]:
    """Convert each label into a unique file name: hyphens replace slashes, and equal names are numbered."""
    return _numbered(
        "-".join("up" if part == ".." else part for part in Path(label).parts).lstrip("/-.") for label in labels
    )


def result_file_names(recordings: Sequence[str], folder: Path | None) -> list[str]:
    """Return the names of the recordings' result files, without the suffix of the result format.

    `recordings`: the names of the recordings, all different. The result of `a.wav` is named `a`, because players look
    for subtitles under this name. It is named `a.wav` if two recordings would otherwise have the same result file, or
    if `folder` already has a file such as `a.wav.srt`.
    """
    with_suffix = set(recordings) & _prefixes(folder)
    while True:
        names = [name if name in with_suffix else _SUFFIX.sub("", name, count=1) or name for name in recordings]
        uses = Counter(map(_key, names))
        ambiguous = {recording for recording, name in zip(recordings, names, strict=True) if uses[_key(name)] > 1}
        if ambiguous <= with_suffix:
            return names
        with_suffix |= ambiguous


def recording_name(audio_file_id: str, task_id: str) -> str:
    """Return the file name of a task's recording: `audio_file_id` without folders and without the prefix `task_id`.

    If this name is empty or longer than _MAX_NAME_BYTES bytes, return `task_id` instead.
    """
    recording = Path(audio_file_id).name.removeprefix(f"{task_id}-")  # the id of an upload starts with its task's
    (name,) = unique_file_names([recording])
    return name if name and len(name.encode()) <= _MAX_NAME_BYTES else task_id


def unique_task_names(recordings: Mapping[str, str]) -> list[str]:
    """Return a unique name for each task: the name of its recording, or the task id if an earlier task has this name.

    `recordings`: the name of each task's recording, by task id.
    """
    names: list[str] = []
    for task_id, recording in recordings.items():
        is_taken = _key(recording) in map(_key, names)
        names.append(task_id if is_taken else recording)
    return _numbered(names)


def _prefixes(folder: Path | None) -> set[str]:
    """Return what stands before any dot in the names of the files in `folder`, e.g. both `a` and `a.b` for `a.b.txt`.

    Return an empty set if `folder` is None or does not exist.
    """
    names = [file.name for file in folder.iterdir()] if folder is not None and folder.is_dir() else []
    return {name[: dot.start()] for name in names for dot in re.finditer(r"\.", name)}


def _numbered(names: Iterable[str]) -> list[str]:
    """Make names unique: append a number in brackets to each name that equals an earlier one.

    Names are equal, for example, if the same file is submitted twice.
    """
    unique: dict[str, str] = {}
    for name in names:
        candidates = chain([name], (f"{name} ({number})" for number in count(2)))
        free = next(candidate for candidate in candidates if _key(candidate) not in unique)
        unique[_key(free)] = free
    return list(unique.values())


def _key(name: str) -> str:
    """Return a form of a name for comparisons: the same for `a.txt` and `A.txt`, which may be one and the same file."""
    return unicodedata.normalize("NFC", name.casefold())
