"""The console command `natscribe`, for people; programs use NATS or `natscribe.Client`."""

import sys

INTERRUPTED = 130  # the exit code that shells use for SIGINT
_LIBRARIES = {"typer", "rich", "dotenv", "tinytag", "pysubs2"}  # of the extra `command`


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from natscribe.cli.commands import cli  # noqa: PLC0415 -- the import takes a moment: Ctrl-C must work in it
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        if error.name not in _LIBRARIES:
            raise
        sys.exit("The command needs an extra, install it: pip install 'natscribe[command]'")
    cli()
