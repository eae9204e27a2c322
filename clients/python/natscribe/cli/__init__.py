"""The console command `natscribe`, for people; programs use NATS or `natscribe.Client`."""

import gc
import os
import sys

from natscribe.cli.exit_codes import INTERRUPTED

_LIBRARIES = {"typer", "rich", "dotenv", "tinytag", "pysubs2"}  # of the extra `command`


def main() -> None:
    """Run the subcommand that the command-line arguments name."""
    gc.disable()  # while modules are imported: they stay, and looking for garbage in them takes a tenth of the start
    try:
        from natscribe.cli.commands import command_line  # noqa: PLC0415 -- takes a moment: Ctrl-C must work in it

        cli = command_line(_completed() or sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        sys.exit("The command needs an extra, install it in a checkout: pip install './clients/python[command]'")
    gc.freeze()
    gc.enable()
    cli()


def _completed() -> list[str]:
    """Return the words after `natscribe` in the command line for which a shell requests completions.

    Return [] if this process was not started for a tab completion.
    """
    if "_NATSCRIBE_COMPLETE" not in os.environ:
        return []
    return os.environ.get("COMP_WORDS", os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()[1:]
