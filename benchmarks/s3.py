"""Reading a recording from S3, beside its library alone, and the memory for that."""

import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
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
from benchmarks.s3_server import S3Server, bucket_of, in_s3
from benchmarks.sizes import Sizes

SMALL = 64  # MiB; the memory for this recording is compared with that for the large one
PART = 8  # MiB, of an upload

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
        sizes.tell(f"a recording of {large} MiB, {len(ways)} ways, {sizes.s3_rounds} rounds")
        peaks = {size: await _peak(ways["the service"], size) for size in (SMALL, large)}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(sizes.s3_rounds):
            for way, read in ways.items():
                begun = time.perf_counter()
                await read(str(large))
                times[way].append(time.perf_counter() - begun)
    return _findings(large, times, peaks)


def _findings(large: int, times: dict[str, list[float]], peaks: dict[int, float]) -> Findings:
    middle = {way: median(each) for way, each in times.items()}
    ours = middle["the service"]
    table = Table(
        f"A recording of {large} MiB from S3",
        ("way", "s", "slowest, s", "MiB a second", "speed of the service / this"),
        [
            (way, seconds(middle[way]), seconds(max(each)), whole(large / middle[way]), ratio(middle[way] / ours))
            for way, each in times.items()
        ],
        [
            "SeaweedFS on the same machine, whose cores it shares; the ways take turns, and the median counts.",
            "The service writes the recording into a file and hashes it.",
            f"Resident memory at the most: {peaks[large]:.0f} MiB, for {SMALL} MiB {peaks[SMALL]:.0f} MiB.",
        ],
    )
    figures = {
        "s3_over_library": middle["the library, into a file"] / ours,
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
