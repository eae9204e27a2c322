"""Runs subcommands: creates their client, prints their output and errors, and sets the exit code."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from natscribe.cli.exit_codes import INTERRUPTED, OUTPUT_CLOSED, USAGE
from natscribe.client import Client, ClientError, OptionError, RequestFailedError, UploadCallback, command
from natscribe.schemas.printable import printable
from natscribe.settings import Settings, describe_invalid_setting

DATA = Path(".data")
ENDPOINTS = DATA / "endpoints.env"
_LAYOUT = "\n\t"  # control characters that lay out text
_CANCEL_AGAIN_AFTER_S = 2.0  # a cancelled command closes its connections within this time


class OutputClosedError(Exception):
    """The process that reads the standard output has ended, as in `natscribe watch ID | head -1`."""


class UsageError(typer.BadParameter):
    """A wrong argument; control characters in its message, e.g. of the name of a file, are escaped."""

    def format_message(self) -> str:
        """Return the message that typer prints."""
        return printable(super().format_message(), keep="\n")


class Terminal(Console):
    """A console without markup, which truncates no line if `soft_wrap` is set, and escapes control characters.

    All text may come from a message or a file name, and a terminal would obey its control characters.
    """

    def __init__(self, *, stderr: bool, soft_wrap: bool = True) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, stderr=stderr)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object, every text in it without control characters: all output passes this method."""
        if isinstance(renderable, str):
            renderable = Text(renderable)
        if isinstance(renderable, Text) and (plain := printable(renderable.plain, keep=_LAYOUT)) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = plain
        return super().render(renderable, options)

    def print_data(self, text: str) -> None:
        """Print lines for programs, such as JSON: unchanged, except on a terminal."""
        if self.is_terminal:
            self.print(text)
            return
        try:
            self.file.write(f"{text}\n")
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Raise OutputClosedError instead of exiting, so that the command closes its connections first.

        Raises:
            OutputClosedError: Always.
        """
        with suppress(SystemExit):  # rich would exit at once
            super().on_broken_pipe()
        raise OutputClosedError


ERROR = "red"
WARNING = "color(130)"  # a dark orange, readable on black and on white: plain yellow is not on white
out = Terminal(stderr=False)  # results
err = Terminal(stderr=True)  # everything else


def print_above(text: str, style: str) -> None:
    """Print a line on standard error, above progress bars if there are any."""
    err.print(Text(text, style))  # `print(text, style=style)` would style the bars, too


def read_settings() -> Settings:
    """Read the settings of the client.

    Each setting comes from the environment, or else from the file `.env`, or else from the file that `natscribe up`
    writes.
    """
    return Settings.read(Path(".env"), ENDPOINTS)


def open_client(on_upload: UploadCallback | None = None) -> Client:
    """Create a client that prints a line whenever the connection to NATS is lost or restored.

    If `natscribe up` was run in the current folder but is stopped, and no setting names a NATS server, print which
    server is used instead. `on_upload` is called while a recording is uploaded; see `Client`.
    """
    settings = read_settings()
    if DATA.is_dir() and not ENDPOINTS.exists() and "nats_url" not in settings.model_fields_set:
        where = f"`{command()} up` does not run in this folder: using NATS at {settings.nats_addresses}."
        err.print(where, style=WARNING)
    return Client(settings, on_outage=_print_outage, on_upload=on_upload)


def require(condition: object, message: str) -> None:
    """Raise a usage error with this message if a condition on the arguments of a command is false.

    Raises:
        typer.BadParameter: The condition is false.
    """
    if not condition:
        raise UsageError(message)


def run_and_exit(
    work: Coroutine[None, None, int], *, expected: tuple[type[Exception], ...] = (ClientError,)
) -> NoReturn:
    """Run the coroutine of a command, and exit with the exit code that it returns.

    `expected`: exceptions that are printed as one sentence, without a traceback; the exit code is then 1.
    """
    try:
        code = asyncio.run(_until_interrupted(work))
    except OptionError as error:
        raise UsageError(str(error)) from error
    except ValidationError as error:  # of the settings: an invalid option is an OptionError
        err.print(describe_invalid_setting(error), style=ERROR)
        code = USAGE
    except OutputClosedError:
        code = OUTPUT_CLOSED
    except expected as error:
        err.print(str(error), style=ERROR)
        print_hint(error)
        code = 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # flushing the rest would fail again
        err.print("The output could not be written: there is no space left on its disk.", style=ERROR)
        code = 1
    raise typer.Exit(code)


def run_with_client(work: Callable[[Client], Awaitable[int | None]]) -> NoReturn:
    """Call `work` with a connected client, and exit with the exit code that it returns (None means 0)."""

    async def run() -> int:
        async with open_client() as client:
            return await work(client) or 0

    run_and_exit(run())


def print_hint(*errors: Exception) -> None:
    """If one of `errors` reports an unknown task, print how to list the tasks."""
    if any(isinstance(error, RequestFailedError) and error.message.startswith("No task ") for error in errors):
        err.print(f"`{command()} list` shows the tasks that exist.")


async def _until_interrupted(work: Coroutine[None, None, int]) -> int:
    """Run `work`, and return its exit code, or INTERRUPTED after Ctrl-C.

    Ctrl-C cancels `work` repeatedly, because nats-py swallows some cancellations.
    """
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


def _print_outage(unavailable: bool) -> None:  # noqa: FBT001 -- the only argument of the callback
    print_above("NATS is unavailable, waiting ..." if unavailable else "NATS is back.", WARNING)
