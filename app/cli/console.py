"""The terminal: what is said where, how a command ends, and where its servers are."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from app.client import ClientError
from app.embedded import EmbeddedError
from app.settings import Settings

DATA = Path(".data")
ENDPOINTS = DATA / "endpoints.env"
INTERRUPTED = 130

out = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)  # results
err = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True)  # all about them


def find_servers() -> Settings:
    """Read the settings: environment first, then `.env`, then what `natscribe up` wrote, then defaults."""
    try:
        return Settings(_env_file=(ENDPOINTS, ".env"))
    except ValidationError as error:
        raise _misuse(error) from error


def finish(work: Coroutine[None, None, int]) -> NoReturn:
    """Do a command's work and exit with its code; an error is one sentence, never a traceback."""
    try:
        code = asyncio.run(work)
    except (ClientError, EmbeddedError) as error:
        err.print(str(error), style="red")
        code = 1
    except ValidationError as error:
        raise _misuse(error) from error
    except KeyboardInterrupt:
        code = INTERRUPTED
    raise typer.Exit(code)


def _misuse(error: ValidationError) -> typer.BadParameter:
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"])
    what = problem["msg"].removeprefix("Value error, ")
    return typer.BadParameter(f"{place}: {what}" if place else what)
