"""Reads single key presses from the terminal."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Within the `with` block, call `pressed` with each key that is pressed; do nothing if stdin is no terminal.

    `pressed` also gets keys that were pressed shortly before the block. If the terminal is closed, it gets `""` once.
    """
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 -- not every system has it
    import tty  # noqa: PLC0415 -- as above

    file, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(file)
    tty.setcbreak(file, termios.TCSADRAIN)

    def read() -> None:
        text = b""
        with suppress(OSError):  # as at the end of a file: the terminal is gone
            text = os.read(file, 64)
        if not text:
            loop.remove_reader(file)
        pressed(text.decode(errors="ignore"))

    loop.add_reader(file, read)
    try:
        yield
    finally:
        loop.remove_reader(file)
        with suppress(termios.error):
            termios.tcsetattr(file, termios.TCSADRAIN, before)
