"""Finds the name of the console command, for messages that say what to type next."""

import shutil
import sys
from pathlib import Path

NAME = "natscribe"


def command() -> str:
    """Return the command as the user can type it: `natscribe` if the shell finds it by this name, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which(NAME)
    if called.name != NAME or (found is not None and called.exists() and called.samefile(found)):
        return NAME
    here = Path.cwd()
    return str(called.relative_to(here) if called.is_relative_to(here) else called)
