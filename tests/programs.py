"""Programs of other people, which know only the address of NATS."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.waiting import patiently

BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parents[1] / "examples"
WITHIN = 120  # seconds
KEPT_BYTES = 64 * 1024**2  # a program whose output nobody reads waits when it has printed more


@asynccontextmanager
async def started(nats_url: str, *command: Path | str, cwd: Path = EXAMPLES) -> AsyncIterator[Process]:
    """A program that runs until the body ends; what it prints and nobody reads is shown if the test fails."""
    environment = os.environ | {"NATS_URL": nats_url, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment, stdout=PIPE, stderr=STDOUT, limit=KEPT_BYTES
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        print((await process.communicate())[0].decode())


async def output(nats_url: str, *command: Path | str, cwd: Path = EXAMPLES) -> str:
    """What a program prints until it ends well."""
    async with started(nats_url, *command, cwd=cwd) as process:
        printed = (await asyncio.wait_for(process.communicate(), patiently(WITHIN)))[0].decode()
    assert process.returncode == 0, printed
    return printed


async def line_with(process: Process, text: str) -> str:
    """The first line of a program's output that has this in it."""
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(patiently(WITHIN)):
        async for line in process.stdout:
            lines.append(line.decode())
            if text in lines[-1]:
                return lines[-1]
    message = f"ended without {text!r}: {''.join(lines)}"
    raise AssertionError(message)
