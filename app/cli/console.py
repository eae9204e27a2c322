"""The terminal: output of a command, its exit code, and the addresses of its servers."""

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
_CANCEL_AGAIN_AFTER_S = 2.0  # enough time to close everything
NOBODY_READS = 141  # the exit code of a process that SIGPIPE ended


class NobodyReadsError(Exception):
    """The reader of the output has ended: `natscribe watch ID | head -1`."""


class Terminal(Console):
    """A console that prints text unchanged: without markup, and without cutting lines."""

    def __init__(self, *, stderr: bool) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=stderr)

    def on_broken_pipe(self) -> None:
        """Raise an error, so that everything is closed before the command ends.

        Raises:
            NobodyReadsError: Always.
        """
        with suppress(SystemExit):  # the library would exit at once
            super().on_broken_pipe()
        raise NobodyReadsError


out = Terminal(stderr=False)  # results
err = Terminal(stderr=True)  # everything else


def find_servers() -> Settings:
    """Read the settings: from the environment, else `.env`, else the file of `natscribe up`, else the defaults."""
    return Settings(_env_file=(ENDPOINTS, ".env"))


def open_client() -> Client:
    """A client that prints when NATS goes away and when it is back."""
    return Client(find_servers(), on_outage=_print_outage)


def run_and_exit(work: Coroutine[None, None, int]) -> NoReturn:
    """Run a command and exit with its code. An error is printed as one sentence, without a traceback."""
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
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushing the rest would fail again
        err.print("The output could not be written: there is no space left on its disk.", style="red")
        code = 1
    raise typer.Exit(code)


async def _until_interrupted(work: Coroutine[None, None, int]) -> int:
    """Do the work. Ctrl-C cancels it repeatedly until it ends: some waits in nats-py swallow a cancellation."""
    loop, task = asyncio.get_running_loop(), asyncio.create_task(work)

    def cancel() -> None:
        if not task.done():
            task.cancel()
            loop.call_later(_CANCEL_AGAIN_AFTER_S, cancel)

    loop.add_signal_handler(signal.SIGINT, cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return INTERRUPTED


def _print_outage(away: bool) -> None:  # noqa: FBT001 -- the only argument of the callback
    err.print("NATS is away, waiting ..." if away else "NATS is back.", style="yellow")
