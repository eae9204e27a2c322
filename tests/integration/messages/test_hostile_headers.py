"""What a publisher calls headers, as bytes on the socket: the server passes on what no library would write."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
import pytest
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from natscribe.jetstream.nats_py_compat import SafeConnection, tolerate_unreadable_messages

from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import StartWorker
from tests.integration.hostile import HOSTILE_HEADERS, publish_bytes
from tests.servers import Servers
from tests.waiting import eventually

SEED, BLOCKS = random.randrange(2**32), 200  # noqa: S311 -- shown where a test fails


@asynccontextmanager
async def subscribed(servers: Servers, *, tolerant: bool = True) -> AsyncIterator[Subscription]:
    """Subscribe to `guarded` on a connection of its own, which must not be lost."""
    connection = SafeConnection() if tolerant else Client()
    await connection.connect(servers.nats_url)
    if tolerant:
        tolerate_unreadable_messages(connection)
    inbox = await connection.subscribe("guarded")
    await connection.flush()
    reconnects = connection.stats["reconnects"]
    yield inbox
    assert connection.stats["reconnects"] == reconnects
    await connection.close()


@pytest.mark.foreign
@pytest.mark.parametrize("head", [b"", b"NATS/1.0\r\nx: y\r\n\r\n"], ids=["without headers", "with headers"])
@pytest.mark.parametrize("space", ["\v", "\f"], ids=["vertical tab", "form feed"])
async def test_a_reply_subject_with_white_space_ends_no_connection(
    servers: Servers, nc: Client, space: str, head: bytes
) -> None:
    async with subscribed(servers) as inbox:
        # When a request names a reply subject that no library would name
        await publish_bytes(servers.nats_url, f"guarded _INBOX.a{space}b", head, b"1")
        await nc.publish("guarded", b"after it")
        # Then the connection receives it, and the next message
        first, second = [await inbox.next_msg(timeout=5) for _ in range(2)]
    assert (first.data, first.reply, second.data) == (b"1", f"_INBOX.a{space}b", b"after it")


@pytest.mark.foreign
async def test_the_message_after_any_headers_is_received(servers: Servers, nc: Client) -> None:
    print(f"{SEED=}")
    randomly = random.Random(SEED)  # noqa: S311 -- to be repeated
    async with subscribed(servers) as inbox:
        # When a connection receives any bytes for headers
        for _ in range(BLOCKS):
            begin = randomly.choice((b"", b"99\r\n", b"NATS/1.0", b"NATS/1.0 ", b"NATS/1.0\r\n"))
            head = begin + randomly.randbytes(randomly.randint(1, 30))
            await publish_bytes(servers.nats_url, "guarded", head, b"")
        await nc.publish("guarded", b"after them")
        # Then it receives them all, and the next message
        async with asyncio.timeout(10):
            while (await inbox.next_msg(timeout=5)).data != b"after them":
                pass


async def test_nats_py_still_stops_at_unreadable_headers(servers: Servers, nc: Client) -> None:
    async with subscribed(servers, tolerant=False) as inbox:
        # When a connection of the library receives headers that cannot be read
        await publish_bytes(servers.nats_url, "guarded", HOSTILE_HEADERS["no text"], b"")
        await nc.publish("guarded", b"after it")
        # Then it receives nothing any more: once it does, `tolerate_unreadable_messages` can go
        with pytest.raises(nats.errors.TimeoutError):
            await inbox.next_msg(timeout=1)


@pytest.mark.foreign
async def test_audio_under_a_name_that_is_not_utf_8_expires(
    servers: Servers,
    settings: Settings,
    constants: Constants,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
) -> None:
    # Given audio under a name that no task has, and that no request to NATS can spell
    settings.live_ttl = 3
    constants(DUPLICATE_WINDOW_S=2)
    async with start_worker(engine):
        await publish_bytes(servers.nats_url, b"live.audio.\xff\xfe", b"NATS/1.0\r\n\r\n", b"audio")
        assert (await js.stream_info("transcription_live")).state.messages == 1

        # When LIVE_TTL is over, then it is gone
        async def gone() -> bool:
            return not (await js.stream_info("transcription_live")).state.messages

        await eventually(gone)
