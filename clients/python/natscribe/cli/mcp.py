"""The subcommand `mcp`, which serves the Model Context Protocol to an assistant that starts it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli.console import read_settings, require, run_and_exit
from natscribe.cli.options import parse_user_id

UserId = Annotated[str | None, typer.Option(help="Show the assistant only the tasks of this user.")]
Folder = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER", exists=True, file_okay=False, help="Let the assistant transcribe recordings in FOLDER."
    ),
]


def mcp(*, user_id: UserId = None, write: Folder = None) -> None:
    """Let an assistant read transcripts (MCP).

    It speaks the Model Context Protocol on standard input and output. The assistant starts this command: name it
    `natscribe mcp`. It only reads unless --write is given.
    """
    require(find_spec("mcp"), "the Model Context Protocol needs an extra: pip install './clients/python[mcp]'")
    from natscribe.mcp_server import create_server  # noqa: PLC0415 -- its library is an extra of the package

    user = None if user_id is None else parse_user_id(user_id)

    async def serve() -> int:
        await create_server(read_settings(), user_id=user, folder=write).run_stdio_async()
        return 0

    run_and_exit(serve())
