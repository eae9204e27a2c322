"""The subcommand `redact`, which replaces personal data in a text."""

import sys
from typing import Annotated

import typer

from natscribe.cli import options
from natscribe.cli.console import out, require, run_with_client
from natscribe.client import Client, command
from natscribe.client.languages import language_code
from natscribe.schemas.redaction import MAX_TEXT_CHARS, Replacement

Entities = Annotated[str, typer.Option(metavar="LIST", help=f"What to replace, {options.ENTITIES}")]
Replace = Annotated[Replacement, typer.Option(help="By what: [PHONE], [PHONE_1] or ####.")]
Language = Annotated[str | None, typer.Option("--language", "-l", help="Language of the text, as `ru` or `Russian`.")]
Json = Annotated[bool, typer.Option("--json", help="The Redacted message as one line of JSON.")]


def redact(
    *,
    entities: Entities = "all",
    replace: Replace = Replacement.LABEL,
    language: Language = None,
    as_json: Json = False,
) -> None:
    """Replace personal data in the text on standard input."""
    example = f"{command()} redact < chat.txt"
    require(not sys.stdin.isatty(), f"standard input is a terminal: send a text to it, as in `{example}`")
    text = sys.stdin.read(MAX_TEXT_CHARS + 1)
    code = language_code(language) if language else None

    async def work(client: Client) -> None:
        chosen = [entity.strip() for entity in entities.split(",")]
        reply = await client.redact(text, entities=chosen, replace=replace, language=code)
        out.print_data(reply.model_dump_json() if as_json else reply.text)

    run_with_client(work)
