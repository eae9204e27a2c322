"""What a publisher calls headers, as bytes on the socket: the server passes on what no library would write."""

import asyncio
import random
from urllib.parse import urlsplit

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.jetstream.nats_py_compat import tolerate_unreadable_messages

from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import StartWorker
from tests.integration.hostile import HOSTILE_HEADERS, publish_bytes
from tests.servers import Servers
from tests.waiting import eventually

SEED, BLOCKS = random.randrange(2**32), 200  # noqa: S311 -- shown where a test fails


@pytest.mark.foreign
@pytest.mark.parametrize("headers", [None, {"x": "y"}], ids=["without headers", "with headers"])
@pytest.mark.parametrize("space", ["\v", "\f"], ids=["vertical tab", "form feed"])
async def test_a_reply_subject_with_white_space_ends_no_connection(
    servers: Servers, nc: Client, space: str, headers: dict[str, str] | None
) -> None:
    # Given a connection of the service's
    lost = asyncio.Event()

    async def note() -> None:
        lost.set()

    connection = await nats.connect(servers.nats_url, disconnected_cb=note)
    tolerate_unreadable_messages(connection)
    inbox = await connection.subscribe("guarded")
    await connection.flush()
    # When it is asked to answer where no library would
    place = urlsplit(servers.nats_url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    await reader.readline()
    writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
    head = b"" if headers is None else b"NATS/1.0\r\nx: y\r\n\r\n"
    verb, sizes = ("PUB", "1") if headers is None else ("HPUB", f"{len(head)} {len(head) + 1}")
    writer.write(f"{verb} guarded _INBOX.a{space}b {sizes}\r\n".encode() + head + b"1\r\nPING\r\n")
    assert await asyncio.wait_for(reader.readline(), 5) == b"PONG\r\n"
    await nc.publish("guarded", b"behind it")
    # Then it receives that, and what is behind it
    found = [await inbox.next_msg(timeout=5) for _ in range(2)]
    assert [message.data for message in found] == [b"1", b"behind it"]
    assert found[0].reply == f"_INBOX.a{space}b"
    assert not lost.is_set()
    writer.close()
    await connection.close()


@pytest.mark.foreign
async def test_the_message_after_any_headers_is_received(servers: Servers, nc: Client) -> None:
    # Given a connection of the service's
    connection = await nats.connect(servers.nats_url)
    tolerate_unreadable_messages(connection)
    inbox = await connection.subscribe("guarded")
    await connection.flush()
    # When it receives any bytes for headers
    print(f"{SEED=}")
    randomly = random.Random(SEED)  # noqa: S311 -- to be repeated
    for _ in range(BLOCKS):
        begin = randomly.choice((b"", b"99\r\n", b"NATS/1.0", b"NATS/1.0 ", b"NATS/1.0\r\n"))
        head = begin + randomly.randbytes(randomly.randint(1, 30))
        await publish_bytes(servers.nats_url, "guarded", head, b"")
    await nc.publish("guarded", b"behind them")
    # Then it receives them all, and what is behind them
    async with asyncio.timeout(10):
        while (await inbox.next_msg(timeout=5)).data != b"behind them":
            pass
    await connection.close()


async def test_nats_py_still_stops_at_unreadable_headers(servers: Servers, nc: Client) -> None:
    # Given a connection as the library makes it
    connection = await nats.connect(servers.nats_url)
    inbox = await connection.subscribe("guarded")
    await connection.flush()
    # When it receives headers that cannot be read
    await publish_bytes(servers.nats_url, "guarded", HOSTILE_HEADERS["no text"], b"")
    await nc.publish("guarded", b"behind it")
    # Then it receives nothing any more: once it does, `tolerate_unreadable_messages` can go
    with pytest.raises(nats.errors.TimeoutError):
        await inbox.next_msg(timeout=1)
    await connection.close()


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
        await publish_bytes(servers.nats_url, b"live.audio.\xff\xfe", b"NATS/1.0\r\n\r\n", b"sound")
        assert (await js.stream_info("transcription_live")).state.messages == 1

        # When LIVE_TTL is over, then it is gone
        async def gone() -> bool:
            return not (await js.stream_info("transcription_live")).state.messages

        await eventually(gone)
