"""How recordings are called on the screen, and the files of their results: each unlike the others."""

from collections import Counter
from collections.abc import Iterable
from itertools import chain, count
from pathlib import Path


def labels_of(recordings: list[Path | str]) -> list[str]:
    """How each recording is called on the screen: by its name, where no other one has that too."""
    names = Counter(Path(each).name for each in recordings)
    return _unlike(Path(each).name if names[Path(each).name] == 1 else str(each) for each in recordings)


def file_names(labels: list[str]) -> list[str]:
    """Names that are seen in one folder, whichever way the paths go."""
    return _unlike(
        "-".join("up" if part == ".." else part for part in Path(label).parts).lstrip("/-") for label in labels
    )


def _unlike(names: Iterable[str]) -> list[str]:
    """The names, with numbers where one comes again: one file may be two tasks."""
    found: list[str] = []
    for name in names:
        tries = chain([name], (f"{name} ({number})" for number in count(2)))
        found.append(next(each for each in tries if each not in found))
    return found
