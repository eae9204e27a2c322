"""The terminal: what is said where, how a command ends, and where its servers are."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console

from app.cli import INTERRUPTED
from app.client import Client, ClientError, OptionError
from app.embedded import EmbeddedError
from app.settings import Settings, wrong_setting
from schemas.problems import first_problem

DATA = Path(".data")
ENDPOINTS = DATA / "endpoints.env"
USAGE = 2
CANCEL_AGAIN_AFTER = 2.0  # seconds: what has to be closed is closed by then
NOBODY_READS = 141  # as if SIGPIPE had ended it


class NobodyReadsError(Exception):
    """Whoever read the output has gone: `natscribe watch ID | head -1`."""


class Terminal(Console):
    """Says things as they are, without markup, and never cuts a line."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=stderr)

    def on_broken_pipe(self) -> None:
        """Leave the command in order, by way of all that has to be closed (NobodyReadsError)."""
        with suppress(SystemExit):  # the library's own way out would skip it
            super().on_broken_pipe()
        raise NobodyReadsError


out = Terminal(stderr=False)  # results
err = Terminal(stderr=True)  # all about them


def find_servers() -> Settings:
    """Read the settings: environment first, then `.env`, then what `natscribe up` wrote, then defaults."""
    return Settings(_env_file=(ENDPOINTS, ".env"))


def open_client() -> Client:
    """A client that says when NATS goes away and when it is back."""
    return Client(find_servers(), on_outage=_tell_outage)


def run_and_exit(work: Coroutine[None, None, int]) -> NoReturn:
    """Do a command's work and exit with its code; an error is one sentence, never a traceback."""
    try:
        code = asyncio.run(_until_interrupted(work))
    except (ClientError, EmbeddedError) as error:
        err.print(str(error), style="red")
        code = 1
    except OptionError as error:
        raise typer.BadParameter(str(error)) from error
    except ValidationError as error:
        if error.title == Settings.__name__:
            err.print(wrong_setting(error), style="red")
            raise typer.Exit(USAGE) from error
        raise typer.BadParameter(first_problem(error)) from error
    except NobodyReadsError:
        code = NOBODY_READS
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be flushed would fail again
        err.print("The output could not be written: there is no space left where it goes.", style="red")
        code = 1
    raise typer.Exit(code)


async def _until_interrupted(work: Coroutine[None, None, int]) -> int:
    """Do the work; Ctrl-C cancels it, as often as it takes: nats-py waits in ways that swallow a cancellation."""
    loop, task = asyncio.get_running_loop(), asyncio.create_task(work)

    def cancel() -> None:
        if not task.done():
            task.cancel()
            loop.call_later(CANCEL_AGAIN_AFTER, cancel)

    loop.add_signal_handler(signal.SIGINT, cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED


def _tell_outage(away: bool) -> None:  # noqa: FBT001 -- the callback's only news
    err.print("NATS is away, waiting ..." if away else "NATS is back.", style="yellow")
