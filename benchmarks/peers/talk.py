"""How a peer is given files: it reads a path a line, and writes a JSON object a line. Standard library only."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from resource import RUSAGE_SELF, getrusage


async def answer(transcribe: Callable[[str], Awaitable[str]]) -> None:
    """Say that one is ready, then time each file that a line of the standard input names."""
    _say({"ready": True})
    while path := (await asyncio.to_thread(sys.stdin.readline)).strip():
        began, busy = time.perf_counter(), time.process_time()
        text = await transcribe(path)
        seconds, processor = time.perf_counter() - began, time.process_time() - busy
        memory = 1024 * getrusage(RUSAGE_SELF).ru_maxrss
        _say({"seconds": seconds, "processor": processor, "text": text, "memory": memory})


def _say(fact: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()
