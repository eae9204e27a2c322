"""Writes to a lost connection: Python 3.12.0 to 3.13.7 raise TypeError, where nats-py and redis-py know OSError alone.

It ends whatever writes as a programming fault would. Other versions of Python ignore the write and tell of the loss
when the connection is drained: https://github.com/python/cpython/issues/136234.
"""

import asyncio
import sys
from collections.abc import Iterable
from typing import Final

AFFECTED: Final = (3, 12) <= sys.version_info < (3, 13, 8)


def tolerate_lost_writes() -> None:
    """Have all connections of this process ignore such writes; does nothing where Python itself does."""
    if AFFECTED:
        asyncio.StreamWriter.writelines = _writelines  # type: ignore[assignment,method-assign]  # no other place


def _writelines(writer: asyncio.StreamWriter, data: Iterable[bytes | bytearray | memoryview]) -> None:
    writer.write(b"".join(data))
