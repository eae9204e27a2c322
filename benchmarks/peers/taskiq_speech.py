"""A Taskiq worker for faster-whisper as one would write it, and, run as a program, a client of it."""

import asyncio
import os
from functools import cache

from faster_whisper import WhisperModel

from benchmarks.peers.talk import answer
from benchmarks.peers.taskiq_worker import broker


def _transcribe(path: str) -> str:
    segments, _ = _model().transcribe(path)
    return " ".join(segment.text.strip() for segment in segments)


@cache
def _model() -> WhisperModel:
    return WhisperModel(os.environ["MODEL"], device="cpu", compute_type="int8", cpu_threads=1)


transcribe = broker.register_task(_transcribe, task_name="transcribe")


async def _served(path: str) -> str:
    task = await transcribe.kiq(path)
    return str((await task.wait_result(check_interval=0.05)).return_value)


async def main() -> None:
    """Transcribe what is named."""
    await broker.startup()
    await answer(_served)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
