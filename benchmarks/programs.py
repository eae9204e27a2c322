"""Programs that process audio file by file: the bare engine and sherpa-onnx."""

import asyncio
import json
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from app.engines.whisper import bundled
from benchmarks.peers.environment import PEERS_PYTHON, installed
from benchmarks.stack import GRACE, LOG_TAIL, READY_WITHIN, MeasurementError, Stack, python

LONGEST_LINE = 16 * 1024 * 1024  # bytes
SHERPA = "sherpa-onnx as it comes"


@dataclass(frozen=True)
class Output:
    """The text that a program returned, and the seconds that it took."""

    seconds: float
    text: str


class Program:
    """A running program."""

    def __init__(self, pid: int, log: Path, stdin: StreamWriter, stdout: StreamReader) -> None:
        self.pid = pid
        self._log = log
        self._stdin = stdin
        self._stdout = stdout

    async def process(self, line: Path | str) -> Output:
        """Process a line of input: a file, in most programs.

        Raises:
            MeasurementError: The program has ended.
        """
        self._stdin.write(f"{line}\n".encode())
        report = await self.report()
        return Output(float(str(report["seconds"])), str(report["text"]))

    async def report(self) -> dict[str, object]:
        """Read its next line (MeasurementError)."""
        line = await self._stdout.readline()
        if not line:
            raise MeasurementError(self._log.read_text(errors="replace")[-LOG_TAIL:])
        report: dict[str, object] = json.loads(line)
        return report


@asynccontextmanager
async def running(
    stack: Stack, command: Sequence[str], extra: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run a program until the body ends; the body starts when it is ready (MeasurementError, TimeoutError)."""
    pipe, environment = asyncio.subprocess.PIPE, stack.environment({"MODEL": str(bundled.folder()), **(extra or {})})
    log = stack.folder / f"{time.monotonic_ns()}.log"
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=errors, limit=LONGEST_LINE, env=environment
        )
    if process.stdin is None or process.stdout is None:
        raise AssertionError
    program = Program(process.pid, log, process.stdin, process.stdout)
    try:
        async with asyncio.timeout(READY_WITHIN):
            await program.report()
        yield program
    finally:
        process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), GRACE)
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def bare_engines(stack: Stack, *options: str, count: int = 1) -> AsyncIterator[list[Program]]:
    """Run bare engines; the first option is `batched` or `sequential`."""
    async with AsyncExitStack() as programs:
        command = python("benchmarks.bare", *options)
        yield [await programs.enter_async_context(running(stack, command)) for _ in range(count)]


def sherpa(stack: Stack) -> AbstractAsyncContextManager[Program]:
    """Run sherpa-onnx with the networks of the service."""
    command = python("benchmarks.peers.sherpa_diarization", interpreter=PEERS_PYTHON)
    return running(stack, command, {"ENGINES": str(resources.files("app.engines"))})


async def attempt(peer: str, measurement: Callable[[], Awaitable[None]]) -> list[str]:
    """Measure a peer if peers are installed; return a sentence if that fails, which stops no other measurement."""
    if not installed():
        return [f"{peer} was not measured: not installed here."]
    try:
        await measurement()
    except (MeasurementError, TimeoutError) as error:
        return [f"{peer} was not measured: {str(error) or 'it did not become ready'}."]
    return []
