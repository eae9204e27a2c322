"""Many short tasks through one worker leave it as it was."""

import asyncio
import os
import wave
from pathlib import Path

import psutil
import pytest
from natscribe.client import Client
from natscribe.schemas.progress import ProgressEvent, State

from tests.e2e.conftest import LIBRIVOX, running, servers

TASKS = int(os.environ.get("SOAK_TASKS", "60"))
WARM_UP = 40
POOLED = 2  # connections to Redis that were not needed before, and are kept
MOST_GROWTH = 30 * 1024 * 1024  # bytes, of worker and engine together

pytestmark = [pytest.mark.xdist_group("recovery"), pytest.mark.timeout(120 + TASKS)]


def state_of(worker: psutil.Process) -> tuple[int, int, int]:
    """Open files, children, and resident bytes of all of them."""
    children = worker.children(recursive=True)
    memory = sum(process.memory_info().rss for process in [worker, *children])
    return worker.num_fds(), len(children), memory


async def do(client: Client, recording: str, count: int) -> None:
    for first in range(0, count, 10):
        tasks = [client.create_transcription_task(recording) for _ in range(min(10, count - first))]
        for task_id in await asyncio.gather(*tasks):
            async for event in client.follow(task_id):
                last = event
            assert isinstance(last, ProgressEvent)
            assert last.state is State.COMPLETED, last


async def test_open_files_children_and_memory_stay_where_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a second of silence, and a clip that was heard
    silence = tmp_path / "silence.wav"
    clip = min(LIBRIVOX.glob("*.flac"))
    with wave.open(str(silence), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    async with servers(tmp_path) as settings, running(settings, tmp_path / "log") as service:
        async with service.client() as client:
            for recording in (clip, silence):  # both ways through the engine once
                await client.create_transcription_task(recording, task_id=recording.stem)
                async for _ in client.follow(recording.stem):
                    pass
            stored = f"{silence.stem}-{silence.name}"
            worker = psutil.Process(service.process.pid)
            await do(client, stored, WARM_UP)
            files, children, memory = state_of(worker)
            # When many tasks have gone through
            await do(client, stored, TASKS)
            after = state_of(worker)
    # Then the worker is as it was
    with capsys.disabled():
        print(f"\n{TASKS} tasks: files {files} -> {after[0]}, children {children} -> {after[1]}", end=", ")
        print(f"memory {memory / 2**20:.0f} -> {after[2] / 2**20:.0f} MiB")
    assert after[0] - files <= POOLED
    assert after[1] == children
    assert after[2] - memory < MOST_GROWTH
