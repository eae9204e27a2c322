"""Chaos: workers and servers are killed while tasks run; at the end each task has ended once."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import nats
import pytest

from app.client import Client
from app.embedded import NatsServer, Server, ValkeyServer, free_port
from app.settings import Settings
from schemas.progress import ProgressEvent, State
from schemas.wire import Kind
from tests.e2e.conftest import LIBRIVOX, TWO_READERS, Running, running

SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.randrange(2**32))))  # noqa: S311 -- printed, to be repeated
TASKS = max(60, int(SECONDS * 0.6))
LAST_WITHIN = 300.0  # seconds after the last blow
SORTS = ["text", "words", "speakers", "turns", "turns", "turns"]  # turns of a short clip cost least

pytestmark = [pytest.mark.timeout(SECONDS + LAST_WITHIN + 120), pytest.mark.xdist_group("recovery")]


@dataclass
class Blows:
    """What was done to whom."""

    workers: int = 0
    servers: int = 0


class Crowd:
    """Two workers, each started again when it was killed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._living: dict[int, Running] = {}
        self._ended = False

    @asynccontextmanager
    async def alive(self) -> AsyncIterator["Crowd"]:
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(place)) for place in range(2)]
            try:
                yield self
            finally:
                self._ended = True
                for keeper in keepers:
                    keeper.cancel()

    async def _keep(self, place: int) -> None:
        while not self._ended:
            with suppress(AssertionError):  # NATS went away while it started: it has ended, to be started again
                async with running(self._settings, self._folder / f"worker-{place}.log") as worker:
                    self._living[place] = worker
                    await worker.process.wait()
                    self._living.pop(place, None)

    def kill(self, chance: random.Random) -> bool:
        if not self._living:
            return False
        place = chance.choice(sorted(self._living))
        self._living.pop(place).process.send_signal(signal.SIGKILL)
        return True


async def strike(crowd: Crowd, servers: list[Server], chance: random.Random) -> Blows:
    """Hurt somebody every few seconds until the time is up."""
    blows, end = Blows(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        await asyncio.sleep(chance.uniform(2, 6))
        if chance.random() < 0.2:
            server = chance.choice(servers)
            await server.kill()
            await asyncio.sleep(chance.uniform(0, 2))
            await server.start()
            blows.servers += 1
        else:
            blows.workers += crowd.kill(chance)
    return blows


async def publish(client: Client, chance: random.Random) -> dict[str, float]:
    """Publish short tasks of all sorts over the time; the seconds of audio of each."""
    clips = sorted(LIBRIVOX.glob("*.flac"))
    published = {}
    for number in range(TASKS):
        clip = chance.choice(clips) if chance.random() < 0.95 else TWO_READERS
        task_id = f"task-{number}"
        while task_id not in published:
            try:
                await create(client, clip, task_id, chance.choice(SORTS))
            except Exception as error:  # noqa: BLE001 -- a server is away: a publisher asks again, with the same id
                print(f"{task_id} refused: {error!r:.100}")
                await asyncio.sleep(0.5)
            else:
                published[task_id] = 32.0 if clip is TWO_READERS else 6.0
        await asyncio.sleep(SECONDS / TASKS * chance.uniform(0, 1))
    return published


async def create(client: Client, clip: Path, task_id: str, sort: str) -> None:
    if sort == "turns":
        await client.create_diarization_task(clip, task_id=task_id)
    else:
        await client.create_transcription_task(
            clip, task_id=task_id, word_timestamps=sort == "words", diarize=sort == "speakers"
        )


async def log_of(client: Client, task_id: str) -> list[ProgressEvent]:
    return [event async for event in client.follow(task_id) if isinstance(event, ProgressEvent)]


def recoveries(events: list[ProgressEvent]) -> list[float]:
    """Seconds from the last word of a lost worker to the first of the next one."""
    return [
        (after.time - before.time).total_seconds()
        for before, after in pairwise(events)
        if before.state is State.RUNNING and after.state is State.RUNNING and before.worker != after.worker
    ]


async def test_nothing_is_lost_and_nothing_is_done_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311
    print(f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g}")
    async with AsyncExitStack() as closing:
        # Given two workers, and servers that keep their data
        servers: list[Server] = [
            NatsServer(tmp_path / "nats", free_port()),
            ValkeyServer(tmp_path / "valkey", free_port()),
        ]
        for server in servers:
            await server.start()
            closing.push_async_callback(server.stop)
        nats_url, redis_url = (server.url for server in servers)
        settings = Settings(
            _env_file=None, nats_url=nats_url, redis_url=redis_url, task_max_retries=20, task_retry_delay=1, cache_ttl=0
        )
        crowd = await closing.enter_async_context(Crowd(settings, tmp_path).alive())
        client = await closing.enter_async_context(await connected(settings))
        # When tasks are published while workers and servers are killed
        published, blows = await asyncio.gather(publish(client, chance), strike(crowd, servers, chance))
        async with asyncio.timeout(LAST_WITHIN):
            logs = {task_id: await log_of(client, task_id) for task_id in published}
        results = await count_results(nats_url)
    # Then each has ended once, with one result
    report(published, blows, logs, results)
    ends = {task_id: [event.state for event in events if event.state.ended] for task_id, events in logs.items()}
    assert {task_id: end for task_id, end in ends.items() if end != [State.COMPLETED]} == {}
    assert results == Counter(dict.fromkeys(published, 1))
    for events in logs.values():
        assert [event.sequence for event in events] == list(range(1, len(events) + 1))


async def connected(settings: Settings) -> Client:
    """A client, once the first worker has made the streams."""
    nc = await nats.connect(settings.nats_url)
    async with asyncio.timeout(60):
        while True:
            try:
                await nc.jetstream().stream_info("OBJ_audio")
            except nats.js.errors.NotFoundError:
                await asyncio.sleep(0.1)
            else:
                break
    await nc.close()
    return Client(settings)


async def count_results(nats_url: str) -> Counter[str]:
    nc = await nats.connect(nats_url)
    info = await nc.jetstream().stream_info("transcription_results", subjects_filter="results.*")
    await nc.close()
    return Counter({subject.partition(".")[2]: count for subject, count in (info.state.subjects or {}).items()})


def report(
    published: dict[str, float], blows: Blows, logs: dict[str, list[ProgressEvent]], results: Counter[str]
) -> None:
    """What happened, for people to see."""
    ends = Counter(event.state for events in logs.values() for event in events if event.state.ended)
    again = {task_id: len(recoveries(events)) for task_id, events in logs.items()}
    gaps = [gap for events in logs.values() for gap in recoveries(events)]
    kinds = Counter(events[0].kind for events in logs.values())
    print(f"tasks published     {len(published)} ({kinds[Kind.TRANSCRIPTION]} transcriptions)")
    print(f"workers killed      {blows.workers}, servers killed {blows.servers}")
    print(f"results             {results.total()}, failures {ends[State.FAILED]}")
    print(f"lost                {len(published.keys() - results.keys())}")
    print(f"doubled             {sum(count > 1 for count in results.values())}")
    print(f"doubled ends        {ends.total() - len(logs)}")
    print(f"audio done twice    {sum(published[task_id] * count for task_id, count in again.items()):.0f} s at most")
    print(f"slowest recovery    {max(gaps, default=0):.1f} s of {len(gaps)}")
