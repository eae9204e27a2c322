"""Reading a recording from S3, beside its library alone, and the memory for that."""

import asyncio
import os
import tempfile
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from statistics import median

import psutil
from natscribe.s3 import connect
from obstore.store import S3Store

from app.embedded import free_port
from app.recordings.s3 import S3
from app.settings import Settings
from benchmarks.memory import MIB, MemoryWatch
from benchmarks.report import Findings, Table, ratio, seconds, whole
from benchmarks.sizes import Sizes
from tests.s3_server import S3Server, bucket_of, in_s3

SMALL = 64  # MiB; the memory for this recording is compared with that for the large one
PART = 8  # MiB, of an upload
LINE = 64 * MIB  # bytes a second of each connection, if it is slow: one of S3 has 50 to 100 MiB
SLOW = "slow lines:"
SLOWLY = f"{SLOW} the service"
PASSED_ON = 256 * 1024  # bytes
HOST = "127.0.0.1"

Read = Callable[[str], Awaitable[None]]


async def measure(sizes: Sizes) -> Findings:
    """Read the same recording by the library and by the service, in turns."""
    large = sizes.s3_mib
    async with _bucket(SMALL, large) as settings:
        store = connect(settings, within=timedelta(hours=1))
        ways: dict[str, Read] = {
            "the library, thrown away": lambda name: _thrown_away(store, name),
            "the library, into a file": lambda name: _into_a_file(store, name),
            "the service": lambda name: _by_the_service(settings, name),
        }
        sizes.tell(f"a recording of {large} MiB, {sizes.s3_rounds} rounds of all ways")
        async with _slow_lines(settings) as slow:
            far = connect(slow, within=timedelta(hours=1))
            ways[f"{SLOW} the library, into a file"] = lambda name: _into_a_file(far, name)
            ways[SLOWLY] = lambda name: _by_the_service(slow, name)
            peaks = {size: await _peak(ways["the service"], size) for size in (SMALL, large)}
            times = await _in_turns(ways, large, sizes.s3_rounds)
    return _findings(large, times, peaks)


async def _in_turns(ways: dict[str, Read], large: int, rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, read in ways.items():
            begun = time.perf_counter()
            await read(str(large))
            times[way].append(time.perf_counter() - begun)
    return times


def _findings(large: int, times: dict[str, list[float]], peaks: dict[int, float]) -> Findings:
    middle = {way: median(each) for way, each in times.items()}
    table = Table(
        f"A recording of {large} MiB from S3",
        ("way", "s", "slowest, s", "MiB a second", "speed of the service / this"),
        [
            (
                way,
                seconds(middle[way]),
                seconds(max(each)),
                whole(large / middle[way]),
                ratio(middle[way] / middle[SLOWLY if way.startswith(SLOW) else "the service"]),
            )
            for way, each in times.items()
        ],
        [
            "SeaweedFS on the same machine, whose cores it shares; the ways take turns, and the median counts.",
            "The service writes the recording into a file and hashes it.",
            f"Slow lines: a proxy lets {LINE // MIB} MiB a second through each connection.",
            f"Resident memory at the most: {peaks[large]:.0f} MiB, for {SMALL} MiB {peaks[SMALL]:.0f} MiB.",
        ],
    )
    figures = {
        "s3_over_library": middle["the library, into a file"] / middle["the service"],
        "s3_over_library_on_slow_lines": (middle[f"{SLOW} the library, into a file"] / middle[SLOWLY]),
        "s3_memory_large_over_small": peaks[large] / peaks[SMALL],
    }
    return Findings([table], figures)


@asynccontextmanager
async def _bucket(*sizes: int) -> AsyncIterator[Settings]:
    """Run a server with a recording of each size in MiB, named after it."""
    with tempfile.TemporaryDirectory(prefix="natscribe-bench-") as folder:
        server = S3Server(Path(folder) / "s3", free_port())
        await server.start()
        try:
            for size in sizes:
                await bucket_of(server).put_async(
                    f"calls/{size}", _parts(size), chunk_size=PART * MIB, max_concurrency=1
                )
            yield in_s3(Settings(_env_file=None), server.url)
        finally:
            await server.kill()  # its data are thrown away


@asynccontextmanager
async def _slow_lines(settings: Settings) -> AsyncIterator[Settings]:
    """Run a proxy before the server, which lets LINE bytes a second through each connection."""
    upstream = int((settings.aws_endpoint_url or "").rpartition(":")[2])

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(HOST, upstream)
        with suppress(OSError):
            await asyncio.gather(_pass_on(reader, questions), _pass_on(answers, writer, LINE))

    async with await asyncio.start_server(serve, HOST, 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        yield settings.model_copy(update={"aws_endpoint_url": f"http://{HOST}:{port}"})


async def _pass_on(reader: StreamReader, writer: StreamWriter, most: float | None = None) -> None:
    """Pass on what comes, `most` bytes a second."""
    free_at = 0.0
    try:
        while data := await reader.read(PASSED_ON):
            writer.write(data)
            await writer.drain()
            if most is not None:
                free_at = max(free_at, time.perf_counter()) + len(data) / most
                await asyncio.sleep(free_at - time.perf_counter())
    finally:
        writer.close()


async def _parts(size: int) -> AsyncIterator[bytes]:
    for _ in range(0, size, PART):
        yield os.urandom(PART * MIB)


async def _thrown_away(store: S3Store, name: str) -> None:
    async for _ in (await store.get_async(name)).stream():
        pass


async def _into_a_file(store: S3Store, name: str) -> None:
    with tempfile.TemporaryFile() as file:
        async for chunk in (await store.get_async(name)).stream():
            file.write(chunk)


async def _by_the_service(settings: Settings, name: str) -> None:
    async with S3(settings).fetch(name):
        pass


async def _peak(read: Read, size: int) -> float:
    """Return the peak memory of this process in MiB while a recording is read."""
    async with MemoryWatch(lambda: [psutil.Process()]) as watch:
        await read(str(size))
    return watch.peak / MIB
