"""The production stack with three NATS servers, started, used and disturbed: `make test-containers`."""

import asyncio
import os
from collections.abc import Iterator

import pytest
from natscribe.client import Client
from natscribe.schemas.progress import State

from app.settings import Settings
from tests.containers import engine_answers
from tests.containers.compose import Stack, production_stack
from tests.containers.test_stack import RECORDING, ended

NODES = ("nats", "nats-2", "nats-3")
pytestmark = [
    pytest.mark.skipif(os.environ.get("TEST_CONTAINERS") != "1", reason="make test-containers runs it"),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("containers"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # nats-py at each try to reconnect
]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if not engine_answers():
        pytest.skip("no container engine answers")
    with production_stack(("compose.yaml", "compose.cluster.yaml")) as cluster_stack:
        cluster_stack.compose("up", "--detach", "--build", "--wait", *NODES, "redis", "worker")
        yield cluster_stack


@pytest.fixture
def publisher(stack: Stack) -> Settings:
    return stack.settings("publisher", trusting=True, nodes=len(NODES))


def test_each_node_is_locked_down(stack: Stack) -> None:
    nodes = [container for name, container in stack.containers().items() if "nats" in name.split("-", 2)[-1]]
    assert len(nodes) == len(NODES)
    for node in nodes:
        assert node["HostConfig"]["ReadonlyRootfs"]
        assert node["HostConfig"]["CapDrop"] == ["ALL"]
        assert node["Config"]["User"] == "10002:10002"
        published = [bound for ports in node["NetworkSettings"]["Ports"].values() for bound in ports or ()]
        assert {bound["HostIp"] for bound in published} == {"127.0.0.1"}
        assert len({bound["HostPort"] for bound in published}) == 2


async def test_a_task_completes_while_a_node_is_stopped(stack: Stack, publisher: Settings) -> None:
    async with Client(publisher) as client:
        # Given a task that three nodes have seen through
        assert (await ended(client, await client.create_transcription_task(RECORDING))).state is State.COMPLETED
        # When a node is stopped
        await asyncio.to_thread(stack.compose, "kill", "nats-2")
        # Then the next task is done, too
        last = await ended(client, await client.create_transcription_task(RECORDING, language="en"))
        assert (last.state, last.attempt) == (State.COMPLETED, 1)
    # And the node comes back, with what it has missed
    await asyncio.to_thread(stack.compose, "up", "--detach", "--wait", *NODES)


async def test_nodes_are_replaced_one_after_the_other_while_a_task_runs(stack: Stack, publisher: Settings) -> None:
    async with Client(publisher) as client:
        # Given a task
        task = await client.create_transcription_task(RECORDING, diarize=True)
        # When each node is replaced, once the one before is healthy
        for node in NODES:
            again = ("up", "--detach", "--force-recreate", "--no-deps", "--wait", node)
            await asyncio.to_thread(stack.compose, *again)
        # Then the task was done at its first attempt
        last = await ended(client, task)
        assert (last.state, last.attempt) == (State.COMPLETED, 1)
