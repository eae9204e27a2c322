"""A long live task leaves its worker as it was: memory and speed stay flat."""

import asyncio
import os
import time
from itertools import pairwise
from pathlib import Path
from statistics import mean

import psutil
import pytest
from natscribe.client import Live
from natscribe.schemas.progress import ProgressEvent

from tests.e2e.conftest import running, servers
from tests.playing import joined
from tests.truth.recordings import CLIPS, DEMO, RATE, words_of
from tests.truth.words import word_error_rate
from tests.waiting import eventually

MINUTES = int(os.environ.get("SOAK_MINUTES", "20"))
WARM_UP = min(10, MINUTES // 2)  # minutes of audio, after which the heap of the model has its size
TALK_EVERY = 4  # minutes, one of speech: an hour of it would take too long
MAX_GROWTH_BYTES = (
    60 * 1024 * 1024
)  # bytes, of worker and engines together; in an hour (`make soak`) about 1 MiB a minute
MAX_SLOWDOWN = 2.0  # in processor time, which other programs on the machine change little
MAX_WORD_ERROR_RATE = 0.2  # of the words
MINUTE_WITHIN_S = 600.0

pytestmark = [
    pytest.mark.xdist_group("recovery"),
    pytest.mark.timeout(600 + 60 * MINUTES),
    pytest.mark.skipif("SOAK_MINUTES" not in os.environ, reason="`make soak` has the long live task"),
]


class Progress:
    """How far the text of a live task is, in seconds."""

    def __init__(self) -> None:
        self.reached = 0.0
        self.lags = list[float]()

    async def follow(self, live: Live) -> None:
        async for event in live:
            if isinstance(event, ProgressEvent) and event.processed_seconds is not None:
                self.reached = event.processed_seconds
                self.lags.append(event.lag_seconds or 0.0)

    async def reaches(self, seconds: float) -> None:
        await eventually(lambda: self.reached >= seconds, within=MINUTE_WITHIN_S)


def memory_of(worker: psutil.Process) -> list[int]:
    """The resident bytes of the worker, then those of each of its engines."""
    return [process.memory_info().rss for process in (worker, *worker.children(recursive=True))]


def processor_time_of(worker: psutil.Process) -> float:
    """The seconds that the worker and its engines have computed so far."""
    times = [process.cpu_times() for process in (worker, *worker.children(recursive=True))]
    return sum(times_of_process.user + times_of_process.system for times_of_process in times)


async def test_memory_and_speed_stay_flat_through_a_long_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recordings = (*CLIPS, DEMO)
    minute, words = joined(recordings, pause=0.8), " ".join(map(words_of, recordings))
    seconds, talk = len(minute) / RATE, minute.astype("<i2").tobytes()
    async with (
        servers(tmp_path) as settings,
        running(settings, tmp_path / "log") as service,
        service.client() as client,
    ):
        worker, progress = psutil.Process(service.process.pid), Progress()
        memory, began = list[list[int]](), time.monotonic()
        computed = [processor_time_of(worker)]
        async with client.live() as live:
            following = asyncio.create_task(progress.follow(live))
            # When a long recording is sent, each minute after the previous one is transcribed
            for number in range(MINUTES):
                await live.send(bytes(len(talk)) if number % TALK_EVERY else talk)
                await progress.reaches(number * seconds)
                memory.append(memory_of(worker))
                computed.append(processor_time_of(worker))
        result = await live.result()
        await following
        took = time.monotonic() - began
    # Then worker and engines have what they had after the first minutes
    per_minute = [after - before for before, after in pairwise(computed)]
    first, last = (mean(some) for some in (per_minute[1 : 1 + 2 * TALK_EVERY], per_minute[-2 * TALK_EVERY :]))
    with capsys.disabled():
        for name, of in (("after the first minutes", memory[WARM_UP - 1]), ("at the end", memory[-1])):
            print(f"\n{name}: {sum(of) >> 20} MiB, of which {[size >> 20 for size in of]}", end="")
        print(
            f"\n{MINUTES} minutes of audio in {took:.0f} s, a minute computes {first:.1f} s -> {last:.1f} s, ",
            end="",
        )
        print(f"lag at most {max(progress.lags):.0f} s, at last {progress.lags[-1]:.0f} s")
    assert len(memory[-1]) == len(memory[WARM_UP - 1])
    assert sum(memory[-1]) - sum(memory[WARM_UP - 1]) < MAX_GROWTH_BYTES
    # And the last minutes took no more work than the first
    assert last < MAX_SLOWDOWN * first
    # And all of it is text
    assert result.duration == pytest.approx(MINUTES * seconds, abs=0.01)
    assert result.untranscribed == []
    assert word_error_rate(" ".join([words] * -(-MINUTES // TALK_EVERY)), result.text) < MAX_WORD_ERROR_RATE
