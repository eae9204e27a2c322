"""Embedded servers: they keep their data, share the machine, and never outlive what started them."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats
import psutil
import pytest
from redis.asyncio import Redis

from app.command.embedded import free_port, running
from tests.servers import Breakable, NatsServer, ValkeyServer

pytestmark = pytest.mark.xdist_group("usual ports")  # the port of a killed server must stay free until it restarts

PARENT = """
import asyncio, sys
from pathlib import Path
from app.command.embedded import NatsServer, ValkeyServer, running

async def main():
    folder, nats_port, redis_port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    nats = NatsServer(folder / "nats", nats_port)
    async with running(nats, ValkeyServer(folder / "valkey", redis_port)):
        print(nats.url, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_both_reply_and_are_stopped_afterwards(tmp_path: Path) -> None:
    # Given both servers
    nats_server, valkey = NatsServer(tmp_path / "nats", free_port()), ValkeyServer(tmp_path / "valkey", free_port())
    async with running(nats_server, valkey):
        # When they are used
        client = await nats.connect(nats_server.url)
        assert client.max_payload == 1024 * 1024
        await client.close()
        redis = Redis.from_url(valkey.url)
        assert await redis.set("key", "value")
        await redis.aclose()
    # Then nothing of them is left
    assert not _using(tmp_path)


@pytest.mark.parametrize("end", [Breakable.stop, Breakable.kill])
async def test_nats_keeps_its_streams(nats_server: NatsServer, end: Callable[[Breakable], Awaitable[None]]) -> None:
    # Given a stored message
    client = await nats.connect(nats_server.url)
    await client.jetstream().add_stream(name="kept", subjects=["kept"])
    await client.jetstream().publish("kept", b"message")
    await client.close()
    url = nats_server.url
    # When the server is started again, however it ended
    await end(nats_server)
    await nats_server.start()
    # Then it has the same port, and the same message
    assert nats_server.url == url
    client = await nats.connect(url)
    assert (await client.jetstream().get_msg("kept", 1)).data == b"message"
    await client.close()


async def test_valkey_keeps_its_keys_when_it_is_killed(valkey: ValkeyServer) -> None:
    # Given a key
    redis = Redis.from_url(valkey.url, decode_responses=True)
    await redis.set("key", "value")
    await redis.aclose()
    # When the server dies and is started again
    await valkey.kill()
    await valkey.start()
    # Then the key is there
    assert await redis.get("key") == "value"
    await redis.aclose()


async def test_a_paused_server_can_be_stopped(nats_server: NatsServer, tmp_path: Path) -> None:
    # Given a server that hangs
    nats_server.pause()
    # When it is stopped
    await nats_server.stop()
    # Then it is gone
    assert not _using(tmp_path)


async def test_a_port_that_is_taken_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given that other servers listen on the usual ports
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(NatsServer, "default_port", one.getsockname()[1])
        monkeypatch.setattr(ValkeyServer, "default_port", other.getsockname()[1])
        # When servers are started
        nats_server, valkey = NatsServer(tmp_path / "nats"), ValkeyServer(tmp_path / "valkey")
        async with running(nats_server, valkey):
            # Then they use other ports
            assert str(one.getsockname()[1]) not in nats_server.url
            assert str(other.getsockname()[1]) not in valkey.url


async def test_a_new_run_follows_a_killed_one_at_once(tmp_path: Path) -> None:
    # Given a program that was killed a moment ago
    ports = free_port(), free_port()
    parent = await _parent(tmp_path, *ports)
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    # When another one starts on the same folder and ports
    # Then it waits until the first one's servers have left
    nats_server = NatsServer(tmp_path / "nats", ports[0])
    async with running(nats_server, ValkeyServer(tmp_path / "valkey", ports[1])):
        assert nats_server.url.endswith(str(ports[0]))


async def _parent(folder: Path, *ports: int) -> asyncio.subprocess.Process:
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PARENT,
        str(folder),
        *map(str, ports),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert parent.stdout is not None
    assert (await parent.stdout.readline()).startswith(b"nats://")
    return parent


def _using(folder: Path) -> list[str]:
    """The servers whose data lie under the folder."""
    names = []
    for process in psutil.process_iter(["name", "cmdline", "cwd"]):
        command_and_folder = " ".join(process.info["cmdline"] or ()) + str(process.info["cwd"])
        if process.info["name"] in {"nats-server", "valkey-server"} and str(folder) in command_and_folder:
            names.append(process.info["name"])
    return names
