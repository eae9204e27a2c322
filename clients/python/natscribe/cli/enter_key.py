"""Notices when Enter is pressed in the terminal, also if the standard input has audio."""

import asyncio
import os
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_LOCAL_MODES = 3  # index in the attributes of a terminal


@contextmanager
def on_enter(pressed: Callable[[], object]) -> Iterator[bool]:
    """Call `pressed` when Enter is pressed in the terminal of the standard error; yield whether there is a terminal.

    Until the end of the `with` block the terminal shows no typed characters, which would shift what is drawn.
    """
    try:
        terminal = os.open(os.ttyname(sys.stderr.fileno()), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        yield False
        return
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(terminal)

    def read() -> None:
        if not _is_foreground(terminal):  # a job in the background is stopped when it reads
            return
        try:
            line = os.read(terminal, 1024)
        except BlockingIOError:
            return
        except OSError:  # the terminal was closed
            line = b""
        if line.endswith(b"\n"):
            pressed()
        else:
            loop.remove_reader(terminal)

    silent = [*before]
    silent[_LOCAL_MODES] &= ~termios.ECHO
    _set(terminal, silent)
    loop.add_reader(terminal, read)
    try:
        yield True
    finally:
        loop.remove_reader(terminal)
        _set(terminal, before)
        os.close(terminal)


def _set(terminal: int, attributes: list[int | list[bytes | int]]) -> None:
    if _is_foreground(terminal):
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)


def _is_foreground(terminal: int) -> bool:
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # a terminal without job control
        return True
