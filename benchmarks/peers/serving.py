"""How a program is given files: it reads a path a line and writes a JSON object a line. Standard library only."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable


async def serve(process: Callable[[str], Awaitable[str]]) -> None:
    """Report that the program is ready, then time each file that a line of the standard input names."""
    _write({"ready": True})
    while path := (await asyncio.to_thread(sys.stdin.readline)).strip():
        began = time.perf_counter()
        text = await process(path)
        _write({"seconds": time.perf_counter() - began, "text": text})


def _write(report: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
