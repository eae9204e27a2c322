"""The console command `natscribe`, for people; programs use NATS or `app.client`."""

import sys

INTERRUPTED = 130  # the exit code that shells use for SIGINT


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from app.cli.commands import cli  # noqa: PLC0415 -- the import takes half a second: Ctrl-C must work in it
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    cli()
