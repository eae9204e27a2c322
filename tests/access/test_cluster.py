"""Three nodes as compose.cluster.yaml starts them, on loopback: TLS, accounts, and who may be a node."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from natscribe.client import Client, ClientError

from app.command.embedded import free_port
from app.command.embedded.process import HOST
from app.settings import Settings
from tests.access.servers import DEPLOY, RECORDING, GuardedNats, GuardedValkey, login, service_settings
from tests.fakes.engine import FakeEngine
from tests.faults import make_certificates
from tests.waiting import eventually
from tests.workers import working


class GuardedNode(GuardedNats):
    """A node of the production stack."""

    def __init__(self, folder: Path, certificates: Path, index: int, routes: list[int]) -> None:
        super().__init__(folder)
        self._certificates = certificates
        self.route = routes[index]
        self._routes = [f"nats://{HOST}:{port}" for port in routes]

    def _command(self, port: int) -> list[str]:
        command = super()._command(port)
        shutil.copytree(self._certificates, self.folder / "secrets", dirs_exist_ok=True)
        command += ["--config", str(DEPLOY / "nats/cluster.conf")]
        return [*command, "--cluster", f"nats://{HOST}:{self.route}", "--routes", ",".join(self._routes)]


@pytest.fixture
async def nodes(tmp_path: Path, certificates: Path) -> AsyncIterator[list[GuardedNode]]:
    routes = [free_port() for _ in range(3)]
    cluster = [GuardedNode(tmp_path / f"node-{index}", certificates, index, routes) for index in range(3)]
    async with AsyncExitStack() as closing:
        for node in cluster:
            closing.push_async_callback(node.stop)
        await asyncio.gather(*(node.start() for node in cluster))
        yield cluster


@pytest.fixture
def settings(nodes: list[GuardedNode], valkey: GuardedValkey, certificates: Path) -> Settings:
    urls = ",".join(node.url for node in nodes)
    return service_settings(urls, valkey, nats_replicas=3, nats_tls_ca_file=certificates / "ca.crt")


async def test_tasks_are_done_with_and_without_one_of_the_nodes(nodes: list[GuardedNode], settings: Settings) -> None:
    # Given a worker and a client that know all nodes
    async with working(settings, FakeEngine()), Client(login(settings, "publisher")) as client:
        # When a task is published, then it is done
        await run_a_task(client)
        # And so it is while a node is unavailable
        await nodes[1].kill()
        await run_a_task(client)
    assert [line for node in nodes for line in node.refused()] == []


async def test_a_stranger_is_no_node(tmp_path: Path, nodes: list[GuardedNode]) -> None:
    # Given a server that has the configuration, but its certificate from another authority
    strange = make_certificates(tmp_path / "strange")
    routes = [free_port(), *(node.route for node in nodes)]
    stranger = GuardedNode(tmp_path / "stranger", strange, 0, routes)
    # When it requests to join the nodes
    await stranger.start()
    # Then it is refused, and refuses them
    await eventually(lambda: any("route" in line and "certificate" in line for line in stranger.log))
    await stranger.stop()
    assert not [line for line in stranger.log if "JetStream cluster new metadata leader" in line]


async def run_a_task(client: Client) -> None:
    """Publish a task, again while nodes elect leaders, and wait until it is completed."""

    async def published() -> str | None:
        with suppress(ClientError):
            return await client.create_transcription_task(RECORDING)
        return None

    await client.wait_for_result(await eventually(published))
