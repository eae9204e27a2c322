"""Three NATS servers that form a cluster, which tests may stop."""

import asyncio
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats

from app.command.embedded import free_port
from tests.servers import NatsServer
from tests.waiting import eventually

NODES = 3
WHOLE_WITHIN = 60.0  # seconds; two cores are shared with other tests
ASK_TIMEOUT = 2.0  # seconds within which a node has to report its state


class Node(NatsServer):
    """One server of a cluster; `kill`, `pause`, `resume` and `start` are those of each server."""

    def __init__(self, folder: Path, ports: tuple[int, int, int], routes: list[str], *, sync_interval: str) -> None:
        clients, cluster, self._monitoring = ports
        more = (
            f"http: 127.0.0.1:{self._monitoring}\n"
            f'cluster {{ name: natscribe, listen: "127.0.0.1:{cluster}", routes: {json.dumps(routes)} }}\n'
        )
        super().__init__(folder, clients, sync_interval=sync_interval, more_config=more)

    async def wipe(self) -> None:
        """Kill the server and remove its data, as if its disk had been replaced."""
        await self.kill()
        shutil.rmtree(self.folder / "jetstream")

    async def is_current(self) -> bool:
        """Whether the server has caught up with the leaders of all its streams and consumers."""
        return (await self._state("healthz")).get("status") == "ok"

    async def meta_group(self) -> dict[str, Any]:
        """What this server knows of the meta group: `leader`, and from the leader itself `replicas`."""
        group: dict[str, Any] = (await self._state("jsz")).get("meta_cluster", {})
        return group

    async def _state(self, about: str) -> dict[str, Any]:
        """A reply of the server's monitoring; empty if the server does not reply, or reports that it is unhealthy."""
        return await asyncio.to_thread(self._read_state, f"http://127.0.0.1:{self._monitoring}/{about}")

    def _read_state(self, url: str) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(url, timeout=ASK_TIMEOUT) as response:  # noqa: S310
                reply: dict[str, Any] = json.load(response)
                return reply
        except urllib.error.HTTPError as error:
            error.close()
        except OSError:
            pass
        return {}


class NatsCluster:
    """Three servers with JetStream; give `url` to the setting NATS_URL, and stop its `nodes`."""

    def __init__(self, folder: Path, *, sync_interval: str = "always") -> None:
        ports = free_ports(3 * NODES)
        routes = [f"nats://127.0.0.1:{port}" for port in ports[NODES : 2 * NODES]]
        self.nodes = [
            Node(folder / f"node-{number}", (a, b, c), routes, sync_interval=sync_interval)
            for number, (a, b, c) in enumerate(zip(ports[:NODES], ports[NODES:], ports[2 * NODES :], strict=False))
        ]

    @property
    def url(self) -> str:
        """The addresses of all nodes, for clients."""
        return ",".join(node.url for node in self.nodes)

    async def start(self) -> None:
        """Start all nodes, and wait until streams with three replicas can be made."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        await self.becomes_whole()

    async def stop(self) -> None:
        for node in self.nodes:
            node.resume()
        await asyncio.gather(*(node.stop() for node in self.nodes))

    async def becomes_whole(self) -> None:
        """Wait until the meta group has a leader, knows all nodes, and all nodes have caught up."""
        await eventually(self._is_whole, within=WHOLE_WITHIN)

    async def _is_whole(self) -> bool:
        leader = await self.meta_leader()
        if leader is None:
            return False
        followers = (await leader.meta_group()).get("replicas") or []
        current = [follower for follower in followers if follower.get("current")]
        return len(current) == NODES - 1 and all([await node.is_current() for node in self.nodes])

    async def meta_leader(self) -> Node | None:
        """The node that places streams; None if the living nodes have not elected one."""
        for node in self.nodes:
            if name := (await node.meta_group()).get("leader"):
                return self.named(name)
        return None

    async def leader_of(self, stream: str) -> Node:
        """The node that leads a stream; waits until there is one."""
        client = await nats.connect(self.url.split(","))
        try:
            return self.named(await eventually(lambda: _leader_of(client.jetstream(), stream)))
        finally:
            await client.close()

    async def followers_of(self, stream: str) -> list[Node]:
        """The nodes that have a copy of a stream and do not lead the stream."""
        leader = await self.leader_of(stream)
        return [node for node in self.nodes if node is not leader]

    def named(self, name: str) -> Node:
        """The node with this name."""
        return next(node for node in self.nodes if node.name == name)


async def _leader_of(js: nats.js.JetStreamContext, stream: str) -> str | None:
    try:
        cluster = (await js.stream_info(stream)).cluster
    except nats.errors.Error:
        return None
    return cluster.leader if cluster is not None else None


@asynccontextmanager
async def nats_cluster_in(folder: Path, *, sync_interval: str = "always") -> AsyncIterator[NatsCluster]:
    """A cluster with its data in the folder, until the body ends."""
    cluster = NatsCluster(folder, sync_interval=sync_interval)
    try:
        await cluster.start()
        yield cluster
    finally:
        await cluster.stop()


def free_ports(count: int) -> list[int]:
    """This number of different ports on which no program listens."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)
