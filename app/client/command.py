"""How the console command is called here, for messages that say what to type next."""

import shutil
import sys
from pathlib import Path

NAME = "natscribe"


def command() -> str:
    """The command as it was called: its bare name only where the shell finds it by that."""
    called = Path(sys.argv[0])
    found = shutil.which(NAME)
    if called.name != NAME or (found is not None and called.exists() and called.samefile(found)):
        return NAME
    here = Path.cwd()
    return str(called.relative_to(here) if called.is_relative_to(here) else called)
