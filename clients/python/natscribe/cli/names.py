"""Makes unique names for recordings on the screen, and for the files of their results."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path

from natscribe.formats import Result

_LONGEST_NAME_BYTES = 200  # an `audio_file_id` may be longer than the name of a file


def labels_of(recordings: list[Path | str]) -> list[str]:
    """Make a label for each recording: its file name if no other recording has the same, else its path."""
    names = Counter(Path(each).name for each in recordings)
    return _unlike(Path(each).name if names[Path(each).name] == 1 else str(each) for each in recordings)


def file_names(labels: list[str]) -> list[str]:
    """Make a unique file name for each label, without folders."""
    return _unlike(
        "-".join("up" if part == ".." else part for part in Path(label).parts).lstrip("/-.") for label in labels
    )


def name_of(result: Result) -> str:
    """Return the name of the file of a result: that of the recording, or the task id if no file can have that name."""
    recording = Path(result.audio_file_id).name.removeprefix(f"{result.task_id}-")  # an upload begins with its task
    (name,) = file_names([recording])
    return name if name and len(name.encode()) <= _LONGEST_NAME_BYTES else result.task_id


def _unlike(names: Iterable[str]) -> list[str]:
    """Add a number to each repeated name: the same file may be submitted twice."""
    found: list[str] = []
    for name in names:
        tries = chain([name], (f"{name} ({number})" for number in count(2)))
        found.append(next(each for each in tries if each not in found))
    return found
