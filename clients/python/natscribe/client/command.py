"""Determines how the user can call the console command, for messages that name the next command to run."""

import os
import shlex
import shutil
import sys
from pathlib import Path

COMMAND = "natscribe"


def command() -> str:
    """Return how to call the console command: `natscribe` if it is in the PATH of the shell, else its path."""
    called = Path(sys.argv[0])
    if called.name != COMMAND or _is_in_path(called):
        return COMMAND
    here = Path.cwd()
    return str(called.relative_to(here) if called.is_relative_to(here) else called)


def resume_hint(task_id: str) -> str:
    """Return how to resume a live task, in the shell and in Python, as the end of a sentence in a message."""
    return f"resume the task with `{command()} live - --resume {task_id}`, in Python with `resume=True`"


def command_in_another_terminal(*, in_this_folder: bool) -> str:
    """Return how to call the console command in another terminal, where no virtual environment is activated.

    `in_this_folder`: whether the other terminal has the same current folder, so that a relative path is valid.
    """
    called = Path(sys.argv[0])
    activated = Path(os.environ.get("VIRTUAL_ENV") or os.devnull, "bin", COMMAND)
    if called.name != COMMAND or (_is_in_path(called) and not _is_same(called, activated)):
        return COMMAND
    path = os.path.abspath(called)  # noqa: PTH100 -- `resolve` would follow links, which may outlast what they name
    is_in_this_folder = in_this_folder and Path(path).is_relative_to(Path.cwd())
    return shlex.quote(os.path.relpath(path) if is_in_this_folder else path)


def _is_in_path(called: Path) -> bool:
    """Whether the shell finds the running program under the name `natscribe`; `called` is the program's path."""
    path = shutil.which(COMMAND)
    return path is not None and _is_same(called, Path(path))


def _is_same(first: Path, second: Path) -> bool:
    return first.exists() and second.exists() and first.samefile(second)
