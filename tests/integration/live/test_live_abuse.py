"""A client that may publish live audio may publish anything: the text of other tasks is not affected."""

import asyncio
from contextlib import suppress

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.schemas import subjects

from app.main import Worker
from tests.fakes.echo import second
from tests.integration.live.test_live_faults import ALL, Log, engine, log, speaking
from tests.integration.own_servers import connected_to, nc, redis, settings
from tests.servers import NatsServer, ValkeyServer

__all__ = ["engine", "log", "nc", "redis", "settings"]  # the same servers and the same audio

AUDIO = subjects.live_audio("live-1")
OTHER = second(77)
OLD = {"Nats-Msg-Id": "live-1-0"}  # a number that is stored already
HOSTILE: dict[str, tuple[str, dict[str, str], bytes]] = {
    "no number": (AUDIO, {}, OTHER),
    "the number of another task": (AUDIO, {"Nats-Msg-Id": "live-2-16"}, OTHER),
    "a negative number": (AUDIO, {"Nats-Msg-Id": "live-1--16"}, OTHER),
    "a number of 5,000 digits": (AUDIO, {"Nats-Msg-Id": f"live-1-{'9' * 5000}"}, OTHER),
    "a number beyond 64 bits": (AUDIO, {"Nats-Msg-Id": f"live-1-{2**64}"}, OTHER),
    "a word for a number": (AUDIO, {"Nats-Msg-Id": "live-1-sixteen"}, OTHER),
    "digits of another script": (AUDIO, {"Nats-Msg-Id": "live-1-١٦"}, OTHER),
    "a fraction": (AUDIO, {"Nats-Msg-Id": "live-1-1.5"}, OTHER),
    "an old number with other audio": (AUDIO, OLD, OTHER),
    "an old number and the end": (AUDIO, OLD | {"Natscribe-End": "true"}, b""),
    "an end that is no end": (AUDIO, OLD | {"Natscribe-End": "1"}, b""),
    "JSON": (AUDIO, OLD, b'{"end": true}'),
    "an empty frame without a number": (AUDIO, {}, b""),
    "more than a frame may hold": (AUDIO, {"Nats-Msg-Id": "live-1-16"}, bytes(2 * 1024 * 1024)),
    "half a sample without a number": (AUDIO, {}, b"\x01"),
    "a hundred headers": (AUDIO, OLD | {f"X-{number}": "x" * 100 for number in range(100)}, OTHER),
    "a rollup": (AUDIO, {"Nats-Rollup": "sub"}, OTHER),
    "a rollup of the whole stream": (AUDIO, {"Nats-Rollup": "all"}, OTHER),
    "a schedule": (AUDIO, {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": AUDIO}, OTHER),
    "an expected sequence": (AUDIO, {"Nats-Expected-Last-Sequence": "1"}, OTHER),
    "a task that nobody has published": (subjects.live_audio("ghost"), {"Nats-Msg-Id": "ghost-0"}, OTHER),
    "a subject with one token more": (f"{AUDIO}.extra", OLD, OTHER),
}


async def publish(nc: Client, subject: str, headers: dict[str, str], body: bytes) -> None:
    with suppress(NatsError, asyncio.TimeoutError):  # NATS refuses some of it
        await nc.jetstream().publish(subject, body, headers=headers, timeout=2)


async def test_hostile_frames_change_no_text(nc: Client, nats_server: NatsServer, worker: Worker, log: Log) -> None:
    # Given live audio
    client = await speaking(nc)
    # When others publish every kind of frame that is no part of this audio
    hostile = await connected_to(nats_server)
    await asyncio.gather(*(publish(hostile, *message) for message in HOSTILE.values()))
    await hostile.close()
    await client.send(15)
    # Then the text is that of the speaker alone
    await log.is_whole()


async def test_a_thousand_frames_a_second_change_no_text(
    nc: Client, nats_server: NatsServer, worker: Worker, log: Log
) -> None:
    # Given live audio
    client = await speaking(nc)
    # When another connection publishes five thousand frames at once under numbers that are stored, and under none
    hostile = await connected_to(nats_server)
    for number in range(5000):
        identity = {"Nats-Msg-Id": f"live-1-{number % 15}"} if number % 2 else {}
        await hostile.publish(AUDIO, OTHER[:64], headers=identity)
    await client.send(15)
    # Then the text is that of the speaker alone
    await log.is_whole()
    await hostile.close()


@pytest.mark.usefixtures("worker")
async def test_audio_survives_the_death_of_all_servers(
    nc: Client, nats_server: NatsServer, valkey: ValkeyServer, log: Log
) -> None:
    # Given live audio in the middle of an utterance
    client = await speaking(nc)
    # When all servers are killed, and start again with what they have stored
    await asyncio.gather(nats_server.kill(), valkey.kill())
    await asyncio.gather(nats_server.start(), valkey.start())
    await client.send(15)
    # Then the text is whole
    await log.is_whole(ALL)
