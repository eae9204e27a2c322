"""Plays a recording as a live task, in real time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine

from natscribe import Client
from natscribe.settings import Settings

from tests.truth.recordings import RATE, Samples

FRAME_S = 0.1


async def play(
    nats_url: str,
    samples: Samples,
    follow: Callable[[AsyncIterator[object], float], Coroutine[object, object, None]],
    after_frame: Callable[[float], None] = lambda _: None,
) -> str:
    """Publish a recording in real time and return its text.

    `follow` gets the events and when the recording began on the performance counter; `after_frame` gets the seconds
    since then.
    """
    async with Client(Settings(nats_url=nats_url)) as client, client.live(user_id=1) as live:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(follow(live.events(), began))
            async for frame in in_real_time(samples, began):
                await live.send(frame)
                after_frame(time.perf_counter() - began)
            await live.end()
            return (await live.result()).text


async def in_real_time(samples: Samples, began: float) -> AsyncIterator[bytes]:
    """Yield frames, each when its last sample was spoken."""
    step = round(FRAME_S * RATE)
    for number, start in enumerate(range(0, len(samples), step), start=1):
        await asyncio.sleep(began + number * FRAME_S - time.perf_counter())
        yield samples[start : start + step].astype("<i2").tobytes()
