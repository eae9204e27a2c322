"""The console command `natscribe`, for people; programs speak NATS or use `app.client`."""

import sys

INTERRUPTED = 130  # as shells say it of SIGINT


def main() -> None:
    """Run the command that the arguments name."""
    try:
        from app.cli.commands import cli  # noqa: PLC0415 -- it takes half a second, in which one may press Ctrl-C
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    cli()
