"""The console command `natscribe`, for people. Programs use NATS or `app.client`."""

import sys

INTERRUPTED = 130  # the shells' exit code for SIGINT


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from app.cli.commands import cli  # noqa: PLC0415 -- the import takes half a second, and Ctrl-C may come in it
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    cli()
