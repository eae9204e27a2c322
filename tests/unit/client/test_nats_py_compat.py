"""The faults of nats-py still exist, and the workarounds work."""

import asyncio
import ssl
from dataclasses import fields
from importlib.util import find_spec, module_from_spec

import pytest
from nats.aio.client import Client
from nats.js import api
from nats.js.api import ConsumerConfig, ConsumerInfo
from nats.protocol import parser
from natscribe.client import NoServerError
from natscribe.client.connection import connect
from natscribe.jetstream import nats_py_compat
from natscribe.jetstream.nats_py_compat import SafeConnection, close
from natscribe.settings import Settings

from app.storage.jetstream.nats_py_compat import change_all_connections, send_pings_in_order
from tests.tcp import served
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def _fresh_nats_py(monkeypatch: pytest.MonkeyPatch) -> None:
    """nats-py as it is installed, though another test of this process has changed it for all connections."""
    spec = find_spec("nats.protocol.parser")
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(original := module_from_spec(spec))
    for name in ("MSG_RE", "HMSG_RE"):
        monkeypatch.setattr(parser, name, getattr(original, name))
    monkeypatch.setattr(Client, "_process_info", nats_py_compat._process_info)  # noqa: SLF001 -- the original
    monkeypatch.setattr(api, "ConsumerConfig", ConsumerConfig)
    monkeypatch.setattr(asyncio.StreamWriter, "writelines", asyncio.StreamWriter.writelines)


async def test_writing_to_a_lost_connection_is_a_connection_error() -> None:
    # Given a connection that was closed by the server
    change_all_connections()
    server = await asyncio.start_server(lambda _, theirs: theirs.transport.abort(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await reader.read()
        # When more is written
        writer.writelines([b"one", b"two"])
        # Then the error is a ConnectionError
        with pytest.raises(ConnectionError):
            await writer.drain()


@pytest.fixture
async def orphaned() -> Client:
    """A connection whose server is gone before all messages were sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload": 1000}\r\n')
        while b"PING" not in await reader.readline():
            pass
        writer.write(b"PONG\r\n")
        await reader.readline()  # of the first publish
        writer.transport.abort()
        server.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    nats = Client()
    await nats.connect(f"nats://{host}:{port}", reconnect_time_wait=10)
    await nats.publish("one", b"")
    await eventually(lambda: nats.is_reconnecting)
    await nats.publish("two", b"")
    return nats


async def test_nats_py_raises_when_a_lost_connection_is_closed(orphaned: Client) -> None:
    with pytest.raises((OSError, TypeError)):  # once it raises nothing, `close` can go
        await orphaned.close()


async def test_close_ignores_a_lost_connection(orphaned: Client) -> None:
    await close(orphaned)
    assert orphaned.is_closed


@pytest.mark.parametrize("in_order", [True, False], ids=["workaround", "fault"])
async def test_a_ping_follows_what_was_published_before(*, in_order: bool) -> None:
    # Given a connection to a server that notes the commands after the connection is established
    commands: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload": 1000}\r\n')
        while line := await reader.readline():
            commands.append(line.partition(b" ")[0].strip())
            if commands[-1] == b"PING":
                writer.write(b"PONG\r\n")

    async with served(serve) as port:
        nats = Client()
        await nats.connect(f"nats://127.0.0.1:{port}")
        if in_order:
            send_pings_in_order(nats)
        commands.clear()
        # When a subscription is ended, and the client waits until the server has processed that
        subscription = await nats.subscribe("a")
        await subscription.unsubscribe()
        await nats.flush()
        # Then the server receives the end of the subscription before the PING, or the workaround can go
        await eventually(lambda: len(commands) == 3)
        assert (commands.index(b"UNSUB") < commands.index(b"PING")) is in_order
        await nats.close()


def patched() -> list[object]:
    return [asyncio.StreamWriter.writelines, dict(vars(Client)), parser.MSG_RE, parser.HMSG_RE, api.ConsumerConfig]


async def test_a_client_changes_nothing_in_its_process() -> None:
    before = patched()
    with pytest.raises(NoServerError):
        await connect(Settings(nats_url="nats://127.0.0.1:1"))
    assert patched() == before


@pytest.mark.parametrize("connection", [SafeConnection, Client], ids=["client", "service"])
async def test_no_login_is_sent_without_the_encryption_that_the_address_requires(connection: type[Client]) -> None:
    # Given a server without TLS
    if connection is Client:
        change_all_connections()
    received = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload": 1000}\r\n')
        received.set_result(await reader.read())

    async with served(serve) as port:
        # When a client connects to an address that requires it
        client = connection()
        with pytest.raises(ssl.SSLError):
            await client.connect(f"tls://anna:secret@127.0.0.1:{port}", allow_reconnect=False)
        await client.close()
        # Then the server gets nothing
        assert await asyncio.wait_for(received, 60) == b""


def test_all_settings_of_a_consumer_are_read() -> None:
    # Given settings of nats-server that nats-py does not know, or the workaround can go
    settings = {"max_batch": 1, "max_bytes": 2, "max_expires": 3, "priority_policy": "pinned_client"}
    assert not {*settings} & {field.name for field in fields(ConsumerConfig)}
    # When the information about a consumer is parsed
    change_all_connections()
    info = {
        "name": "c",
        "stream_name": "s",
        "config": {"durable_name": "c", **settings},
        "created": "2026-01-01T00:00:00Z",
    }
    config = ConsumerInfo.from_response(info).config
    # Then they are there, and in what is sent to NATS
    assert settings.items() <= config.as_dict().items()
