"""Starts programs that transcribe file by file, the bare engine and the client of a peer, and gives them files."""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.embedded import free_port
from app.engines.whisper import bundled
from benchmarks.peers.environment import PEERS_PYTHON
from benchmarks.stack import READY_WITHIN, MeasurementError, Stack, python

LONGEST_LINE = 16 * 1024 * 1024  # bytes


@dataclass(frozen=True)
class Answer:
    """A text, and the time that it took."""

    seconds: float
    text: str
    memory: int = 0  # bytes, the most that the program had


class Talker:
    """One such program."""

    def __init__(self, stdin: StreamWriter, stdout: StreamReader) -> None:
        self._stdin = stdin
        self._stdout = stdout

    async def transcribe(self, recording: Path) -> Answer:
        """Have the program transcribe a file.

        Raises:
            MeasurementError: It has ended.
        """
        self._stdin.write(f"{recording}\n".encode())
        said = await self.said()
        return Answer(float(str(said["seconds"])), str(said["text"]), int(str(said["memory"])))

    async def said(self) -> dict[str, object]:
        """What it says next (MeasurementError)."""
        line = await self._stdout.readline()
        if not line:
            message = "the program has ended"
            raise MeasurementError(message)
        fact: dict[str, object] = json.loads(line)
        return fact


@asynccontextmanager
async def talking(
    stack: Stack, command: Sequence[str], extra: Mapping[str, str] | None = None
) -> AsyncIterator[Talker]:
    """Run such a program until the body ends; the body starts when it is ready."""
    pipe, environment = asyncio.subprocess.PIPE, stack.environment({"MODEL": str(bundled.folder()), **(extra or {})})
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, limit=LONGEST_LINE, env=environment
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError
    talker = Talker(process.stdin, process.stdout)
    try:
        async with asyncio.timeout(READY_WITHIN):
            await talker.said()
        yield talker
    finally:
        process.stdin.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def bare_engines(stack: Stack, *options: str, count: int = 1, threads: int = 1) -> AsyncIterator[list[Talker]]:
    """Run bare engines; the first option is `batched` or `sequential`."""
    command, extra = python("benchmarks.bare", *options), {"OMP_NUM_THREADS": str(threads)}
    async with AsyncExitStack() as running:
        yield [await running.enter_async_context(talking(stack, command, extra)) for _ in range(count)]


@asynccontextmanager
async def wyoming(stack: Stack) -> AsyncIterator[Talker]:
    """A wyoming-faster-whisper server with the same model, and a client."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    options = ["--uri", address, "--data-dir", str(stack.folder), "--local-files-only"]
    options += ["--stt-library", "faster-whisper", "--compute-type", "int8", "--cpu-threads", "1"]
    command = python("wyoming_faster_whisper", "--model", str(bundled.folder()), *options, interpreter=PEERS_PYTHON)
    async with stack.running(command) as server:

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await server.until(listens, every=0.2, within=READY_WITHIN)
        client = python("benchmarks.peers.wyoming_client", address, interpreter=PEERS_PYTHON)
        async with talking(stack, client) as talker:
            yield talker
