"""Reads single keys from the terminal."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def keys(pressed: Callable[[str], None]) -> Iterator[None]:
    """Call `pressed` with each key until the block ends; do nothing if standard input is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 -- not every system has it
    import tty  # noqa: PLC0415 -- as above

    file, loop = sys.stdin.fileno(), asyncio.get_running_loop()
    before = termios.tcgetattr(file)
    tty.setcbreak(file)
    loop.add_reader(file, lambda: pressed(os.read(file, 64).decode(errors="ignore")))
    try:
        yield
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)
