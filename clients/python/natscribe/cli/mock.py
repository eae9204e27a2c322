"""The subcommand `mock`, which runs a mock of the service for teams that test their clients."""

from typing import Annotated

import typer

from natscribe.cli.console import err, out, read_settings, run_and_exit
from natscribe.mock import Mock

Seconds = Annotated[
    float, typer.Option("--seconds", min=0, max=3600, help="Duration of each attempt of a task; 0: none.")
]


def mock(*, seconds: Seconds = 6.0) -> None:
    """Run a mock of the service, for client tests.

    It needs an empty NATS server and no model, and runs until Ctrl-C.

    Tasks whose ids start with error-CODE, reply-CODE, retry-, lost- or large- end as the id says: docs/mock.md.
    """

    async def work() -> int:
        settings = read_settings()
        async with Mock(settings, seconds=seconds, report=out.print) as service:
            err.print(f"The mock of the service runs at {settings.nats_addresses}, until Ctrl-C.")
            await service.serve()
        return 0

    run_and_exit(work())
