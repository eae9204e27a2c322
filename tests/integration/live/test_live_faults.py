"""Live audio while workers, servers and clients fail: each second of it is text once, at its offset."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.fleet.stream_guard.provisioning import provision
from app.main import Worker
from app.settings import Settings
from app.tasks.task_log.log import TaskLog
from tests.constants import Constants
from tests.fakes.echo import AUDIO, EchoEngine, said, second, seconds
from tests.integration.conftest import Publisher, StartWorker, parsed
from tests.integration.own_servers import connected_to, nc, redis, settings
from tests.live_client import LiveClient
from tests.publishers import publishers
from tests.servers import NatsServer, ValkeyServer
from tests.waiting import eventually

__all__ = ["nc", "redis", "settings"]  # fixtures

ALL = list(range(1, 36))  # the spoken text: a number each second, in four utterances
FULL = 10077
STREAM = "transcription_live"


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine()


def speaks(nc: Client, numbers: Sequence[int] = ALL) -> LiveClient:
    return LiveClient(nc, "live-1", seconds(numbers), AUDIO)


async def speaking(nc: Client) -> LiveClient:
    """A client in the middle of an utterance."""
    client = speaks(nc)
    await client.begin()
    await client.send(0, 15)
    return client


@dataclass(frozen=True)
class Log:
    """What is stored of the live task."""

    publisher: Publisher
    settings: Settings

    async def said(self) -> list[int]:
        """The text so far."""
        log = TaskLog(self.publisher.nc, publishers(self.publisher.nc), self.settings.stream_names, "reader")
        return [
            number
            async for batch in log.segments("live-1")
            for text in batch.event.segments
            for number in said(text.text)
        ]

    async def finalized(self) -> list[tuple[float, str]]:
        """The marks so far, each with the second up to which there is text."""
        log = TaskLog(self.publisher.nc, publishers(self.publisher.nc), self.settings.stream_names, "reader")
        events = [batch.event async for batch in log.segments("live-1")]
        return [(event.processed_seconds, mark) for event in events for mark in event.finalized]

    async def says(self, count: int) -> bool:
        """Whether so many seconds are text."""
        return len(await self.said()) >= count

    async def result(self) -> dict[str, Any]:
        """The result, which has the same text as the segments."""
        await self.publisher.until("live-1", State.COMPLETED)
        body = parsed(await self.publisher.js.get_last_msg("transcription_results", "results.live-1"))
        assert said(body["text"]) == await self.said()
        return body

    async def is_whole(self, numbers: Sequence[int] = ALL) -> None:
        """All speech is transcribed, once and in order, and nothing is missing."""
        body = await self.result()
        assert said(body["text"]) == list(numbers)
        assert (body["duration"], body["untranscribed"]) == (len(numbers), [])


@pytest.fixture
def log(publisher: Publisher, settings: Settings) -> Log:
    return Log(publisher, settings)


async def test_a_worker_that_is_stopped_hands_the_audio_over(nc: Client, start_worker: StartWorker, log: Log) -> None:
    # Given a worker in the middle of an utterance
    async with start_worker(EchoEngine()):
        client = await speaking(nc)
        await eventually(partial(log.says, 10))
    # When it is stopped, and another one comes while the audio continues
    await client.send(15, 20)
    async with start_worker(EchoEngine()):
        await client.send(20)
        # Then the text is whole, and the attempt is the first one still
        await log.is_whole()
    events = await log.publisher.until("live-1", State.COMPLETED)
    assert {event.attempt for event in events} == {1}


@pytest.mark.parametrize("hangs", [False, True])
async def test_audio_continues_after_an_outage_of_nats(
    nc: Client, worker: Worker, nats_server: NatsServer, log: Log, hangs: bool
) -> None:
    # Given a worker in the middle of an utterance
    client = await speaking(nc)
    await eventually(partial(log.says, 10))
    # When NATS dies, or hangs, for longer than the queue waits for a worker, and more audio is sent
    if hangs:
        nats_server.pause()
    else:
        await nats_server.kill()
    sending = asyncio.create_task(client.send(15))
    await asyncio.sleep(1.6)  # the outage itself
    if hangs:
        nats_server.resume()
    else:
        await nats_server.start()
    # Then the text is whole
    await sending
    await log.is_whole()


async def test_live_text_needs_no_redis(
    nc: Client, worker: Worker, valkey: ValkeyServer, redis: Redis, log: Log
) -> None:
    # Given a Redis that is stopped during live audio
    client = await speaking(nc)
    await valkey.kill()
    # When the audio continues, then the text is whole
    await client.send(15)
    await log.is_whole()
    # And once Redis is there again, its keys are caught up
    await valkey.start()

    async def has_result() -> bool:
        return bool(await redis.exists("task:live-1:result"))

    await eventually(has_result)


@pytest.fixture(params=[True, False])
def remembered(request: pytest.FixtureRequest, constants: Constants) -> bool:
    """Whether the stream knows which frames it has, or takes them twice, as it does after two minutes."""
    if not request.param:
        constants(DUPLICATE_WINDOW_S=0.1)
    return bool(request.param)


async def test_a_client_that_comes_back_sends_again_what_it_sent(
    remembered: bool, nats_server: NatsServer, nc: Client, worker: Worker, log: Log
) -> None:
    # Given a client that has vanished
    gone = await connected_to(nats_server)
    await speaks(gone).begin()
    await speaks(gone).send(0, 15)
    await gone.close()
    # When the client comes back and sends the last ten seconds again
    client = speaks(nc)

    async def is_as_expected(number: int) -> bool:
        return await client.send_frame(number) == remembered  # NATS closes each id some time after its frame

    stored = await count(nc)
    for number in range(5, 15):
        await eventually(partial(is_as_expected, number))
    assert await count(nc) == stored + (0 if remembered else 10)
    await client.send(15)
    # Then each second is text once
    await log.is_whole()


async def count(nc: Client) -> int:
    return (await nc.jetstream().stream_info(STREAM)).state.messages


@pytest.mark.usefixtures("remembered")
async def test_two_processes_that_send_the_same(nats_server: NatsServer, nc: Client, worker: Worker, log: Log) -> None:
    other = await connected_to(nats_server)
    # When two processes publish the same task and the same audio at the same time, one of them a little later
    clients = [speaks(nc), speaks(other)]
    for client in clients:
        await client.begin()
    await clients[0].send(0, 7)
    await asyncio.gather(clients[0].send(7), clients[1].send())
    # Then each second is text once, of one task
    await log.is_whole()
    await other.close()


async def test_a_gap_is_reported_though_another_worker_has_taken_over(
    nc: Client, start_worker: StartWorker, log: Log
) -> None:
    # Given a client that loses frames, and a worker that is stopped two utterances later
    client = speaks(nc)
    async with start_worker(EchoEngine()):
        await client.begin()
        await client.send(0, 4)
        await client.send(7, 33)
        await eventually(partial(log.says, 30))
    # When another worker ends the task
    async with start_worker(EchoEngine()):
        await client.send(33)
        result = await log.result()
    # Then the result reports the gap, and all else is text at its time
    assert said(result["text"]) == [1, 2, 3, 4, 0, 0, 0, *ALL[7:]]
    assert result["untranscribed"] == [{"start": 4.0, "end": 7.0}]
    assert result["duration"] == len(ALL)


async def test_audio_that_comes_far_too_fast_is_caught_up_with(
    nc: Client, worker: Worker, engine: EchoEngine, log: Log, constants: Constants
) -> None:
    # Given a worker that reports all progress, and is held up while ten minutes of audio come
    constants(MIN_EVENT_INTERVAL_S=0.0)
    numbers = list(range(1, 601))
    client = speaks(nc, numbers)
    engine.may_process.clear()
    await client.begin()
    await client.send()
    # When it continues, then all of it is text
    engine.may_process.set()
    await log.is_whole(numbers)
    # And it reported how much was left
    events = await log.publisher.until("live-1", State.COMPLETED)
    lags = [event.lag_seconds for event in events if event.lag_seconds is not None]
    assert max(lags) > 300
    assert lags[-1] < max(lags)


async def test_a_full_stream_refuses_audio_and_loses_none(
    nc: Client, js: JetStreamContext, settings: Settings, start_worker: StartWorker, log: Log
) -> None:
    # Given a stream with room for some seconds
    await provision(js, settings)
    await limit(js, 13 * len(second(1)))
    async with start_worker(EchoEngine()):
        client = speaks(nc)
        await client.begin()
        # When more audio is sent, then the next second is refused, with the number that the document names
        with pytest.raises(APIError) as refused:
            await client.send()
        assert refused.value.err_code == FULL
        stored = await count(nc)
        await eventually(partial(log.says, stored // 10 * 10))
        # And when there is room again, what was refused is sent, and the text is whole
        await limit(js, -1)
        await client.send(stored)
        await log.is_whole()


async def limit(js: JetStreamContext, size: int) -> None:
    config = (await js.stream_info(STREAM)).config
    config.max_bytes = size
    await js.update_stream(config)


async def test_a_lost_worker_costs_no_mark(nc: Client, start_worker: StartWorker, log: Log) -> None:
    # Given a worker that has published one mark, and is lost before it processes two more
    client, first = speaks(nc), EchoEngine()
    async with start_worker(first):
        await client.begin()
        await client.send(0, 3)
        await client.send_frame(3, mark="a")
        await eventually(partial(log.says, 4))
        first.may_process.clear()
        for number in range(4, 13):
            await client.send_frame(number, mark={5: "b", 12: "c"}.get(number))
    # When another worker continues, and the client requests the rest with the end
    async with start_worker(EchoEngine()):
        await client.send(13, len(ALL) - 1)
        await client.send_frame(len(ALL) - 1, mark="d", end=True)
        # Then each mark is published once, with the text up to it, and no word is lost
        await log.is_whole()
    assert await log.finalized() == [(4, "a"), (6, "b"), (13, "c"), (35, "d")]


async def test_frames_after_the_end_are_no_audio(nc: Client, worker: Worker, log: Log) -> None:
    # Given a client that sends on behind its last frame
    client = speaks(nc, [*ALL, 98, 99])
    await client.begin()
    await client.send(0, len(ALL) - 1)
    await client.send_frame(len(ALL) - 1, end=True)
    await client.send(len(ALL))
    # Then the recording has ended before
    await log.is_whole()
