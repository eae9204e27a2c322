"""Many short tasks through one worker leave it as it was."""

import asyncio
import os
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import nats
import psutil
import pytest
from natscribe.client import Client

from app.settings import Settings
from tests.audio import silence, write
from tests.e2e.conftest import LIBRIVOX, running, servers, transcribe

TASKS = int(os.environ.get("SOAK_TASKS", "60"))
WARM_UP = 40
MANY = 500  # with fewer tasks, the other tests on the machine decide how long they take
MAX_SLOWDOWN = 1.5
POOLED = 2  # connections to Redis, or threads, that are created late, and reused
MAX_GROWTH_BYTES = 30 * 1024 * 1024  # bytes, of worker and engine together

pytestmark = [pytest.mark.xdist_group("recovery"), pytest.mark.timeout(120 + TASKS)]


class Footprint(NamedTuple):
    """What a worker and its engines occupy."""

    files: int  # of the worker
    children: int
    threads: int  # of all of them
    memory: int  # resident bytes of all of them
    consumers: int  # of all streams, the durable ones and those of clients

    @classmethod
    async def of(cls, worker: psutil.Process, settings: Settings) -> "Footprint":
        everybody = [worker, *worker.children(recursive=True)]
        nc = await nats.connect(settings.nats_url)
        consumers = sum(info.state.consumer_count for info in await nc.jetstream().streams_info())
        await nc.close()
        threads = sum(process.num_threads() for process in everybody)
        memory = sum(process.memory_info().rss for process in everybody)
        return cls(worker.num_fds(), len(everybody) - 1, threads, memory, consumers)


async def do(client: Client, recording: str, count: int) -> list[float]:
    """Do tasks, ten at once; return how long each ten of them took, in seconds."""
    took = []
    for first in range(0, count, 10):
        began = time.monotonic()
        tasks = [client.create_transcription_task(recording) for _ in range(min(10, count - first))]
        await asyncio.gather(*[client.wait_for_result(task_id) for task_id in await asyncio.gather(*tasks)])
        took.append(time.monotonic() - began)
    return took


async def test_open_files_children_and_memory_stay_where_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a second of silence, and a clip that was transcribed
    quiet = write(tmp_path / "silence.wav", silence(1), "pcm_s16le")
    clip = min(LIBRIVOX.glob("*.flac"))
    async with servers(tmp_path) as settings, running(settings, tmp_path / "log") as service:
        async with service.client() as client:
            for recording in (clip, quiet):  # both ways through the engine once
                await transcribe(client, recording, task_id=recording.stem)
            stored = f"{quiet.stem}-{quiet.name}"
            worker = psutil.Process(service.process.pid)
            await do(client, stored, WARM_UP)
            before = await Footprint.of(worker, settings)
            # When many tasks have gone through
            took = await do(client, stored, TASKS)
            after = await Footprint.of(worker, settings)
    # Then the worker is as it was
    first, second = median(took[: len(took) // 2]), median(took[len(took) // 2 :])
    with capsys.disabled():
        print(f"\n{TASKS} tasks: {before} -> {after}, ten tasks in {first:.2f} s -> {second:.2f} s")
    assert after.files - before.files <= POOLED
    assert after.children == before.children
    assert after.threads - before.threads <= POOLED
    assert after.consumers == before.consumers
    assert after.memory - before.memory < MAX_GROWTH_BYTES
    # And the last tasks took no longer than the first
    assert TASKS < MANY or second < MAX_SLOWDOWN * first
