"""The commands `up` and `demo`, which the command `natscribe` finds by the entry points of this package.

A command imports the service only when it is called, so that the other commands start quickly.
"""

from pathlib import Path
from typing import Annotated

import typer

from app.command.recording import TWO_READERS


def up(  # noqa: PLR0913 -- its options
    *,
    workers: Annotated[
        int,
        typer.Option(min=1, help="Number of workers: each runs one task at a time, on an equal share of the cores."),
    ] = 1,
    host: Annotated[str, typer.Option(help="Address of the documentation page.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the documentation page.", show_default="8000 if free")
    ] = None,
    no_page: Annotated[bool, typer.Option("--no-page", help="Serve no web page, and open NATS to none.")] = False,
    page_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the web page.", show_default="8001 if free")
    ] = None,
    websocket_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Port at which web pages connect to NATS.",
            show_default="9222 if free",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin of your own web page, such as http://localhost:5173, to which NATS is opened, too."),
    ] = None,
    with_: Annotated[
        str | None,
        typer.Option(
            "--with", metavar="SERVICES", help="Services on top of the events: search,forward, or one of them."
        ),
    ] = None,
) -> None:
    """Run the service and its servers until Ctrl-C.

    An embedded NATS is started unless NATS_URL is set, and an embedded Valkey unless REDIS_URL is set.
    """
    services = tuple(filter(None, (with_ or "").split(",")))
    from app.command.page import PageOptions  # noqa: PLC0415 -- see above
    from app.command.up import run  # noqa: PLC0415 -- see above

    page = None if no_page else PageOptions(websocket_port, origin or (), page_port)
    run(workers, host, port, page, services)


def demo(
    recording: Annotated[
        Path,
        typer.Argument(metavar="[FILE]", help="Another recording.", show_default=False, exists=True, dir_okay=False),
    ] = TWO_READERS,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the servers and the result until Ctrl-C.")] = False,
) -> None:
    """Transcribe a sample recording of two readers.

    The result has speakers. The servers run only for the duration of the demo.
    """
    from app.command.demo import run  # noqa: PLC0415 -- see above

    run(recording, keep=keep)
