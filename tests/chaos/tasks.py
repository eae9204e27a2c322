"""The tasks of a chaos test: short recordings of all sorts, published over the time."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import nats
from natscribe.client import Client
from natscribe.client.submission import DiarizationKeywords
from typing_extensions import Unpack

from app.settings import Settings
from tests.e2e.conftest import LIBRIVOX, TWO_READERS

USERS = ["anna", "boris", "eve"]
SCHEDULED_SHARE, MAX_DELAY = 0.2, timedelta(seconds=15)
SORTS = ["text", "words", "speakers", "turns", "turns", "turns"]  # turns of a short clip cost least


async def publish(
    client: Client, name: str, chance: Random, tasks: int, seconds: float, *, in_time: bool
) -> dict[str, float]:
    """Publish tasks over the time, with `in_time` none after it; the seconds of audio of each."""
    clips, published, end = sorted(LIBRIVOX.glob("*.flac")), dict[str, float](), time.monotonic() + seconds
    for number in range(tasks):
        if in_time and time.monotonic() > end:
            break
        clip = chance.choice(clips) if chance.random() < 0.95 else TWO_READERS
        task_id, sort, user_id = f"{name}-{number}", chance.choice(SORTS), chance.choice(USERS)
        start = datetime.now(UTC) + MAX_DELAY * chance.random() if chance.random() < SCHEDULED_SHARE else None
        while task_id not in published:
            try:
                await create(client, clip, sort, task_id=task_id, user_id=user_id, not_before=start)
            except Exception as error:  # noqa: BLE001 -- an outage: a publisher tries again, with the same id
                print(f"{task_id} refused: {error!r:.100}")
                await asyncio.sleep(0.5)
            else:
                published[task_id] = 32.0 if clip is TWO_READERS else 6.0
        await asyncio.sleep(seconds / tasks * chance.uniform(0, 1))
    return published


async def create(client: Client, clip: Path, sort: str, **fields: Unpack[DiarizationKeywords]) -> None:
    if sort == "turns":
        await client.create_diarization_task(clip, **fields)
    else:
        await client.create_transcription_task(
            clip, **fields, word_timestamps=sort == "words", diarize=sort == "speakers"
        )


async def connected(settings: Settings) -> Client:
    """Return a client when the first worker has created the streams."""
    nc = await nats.connect(settings.nats_servers)
    async with asyncio.timeout(60):
        while True:
            try:
                await nc.jetstream().stream_info("OBJ_audio")
            except nats.errors.Error:  # the stream is missing, or has no leader yet
                await asyncio.sleep(0.1)
            else:
                break
    await nc.close()
    return Client(settings)
