"""The production stack, built, started, used and disturbed: `make test-containers`."""

import asyncio
import json
import os
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from natscribe.client import Client
from natscribe.client.errors import ClientError
from natscribe.schemas.progress import ProgressEvent, Stage, State
from natscribe.schemas.requests import ResultFormat
from redis.asyncio import Redis

from app.settings import Settings
from tests.containers import engine_answers
from tests.containers.compose import ROOT, Stack, production_stack
from tests.waiting import eventually

RECORDING = ROOT / "app/command/demo/two_readers.flac"
ENCRYPTED = ("compose.yaml", "compose.tls.yaml")
HEALTHY_WITHIN = 60  # seconds
MAX_IMAGE_BYTES = 900e6  # bytes, models and all
pytestmark = [
    pytest.mark.skipif(os.environ.get("TEST_CONTAINERS") != "1", reason="make test-containers runs it"),
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("containers"),
]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if not engine_answers():
        pytest.skip("no container engine answers")
    with production_stack() as compose_stack:
        compose_stack.compose("build")
        began = time.monotonic()
        compose_stack.compose("up", "--detach", "--wait", *compose_stack.services())
        seconds = time.monotonic() - began
        print(f"\nhealthy after {seconds:.0f} s: {', '.join(compose_stack.services())}")
        assert seconds < HEALTHY_WITHIN
        yield compose_stack


@pytest.fixture
def publisher(stack: Stack) -> Settings:
    return stack.settings("publisher")


def test_the_image_is_small_and_has_no_tools_to_build_with(stack: Stack) -> None:
    size = int(stack.run("docker", "image", "inspect", "--format", "{{.Size}}", "natscribe"))
    print(f"image: {size / 1e6:.0f} MB")
    assert size < MAX_IMAGE_BYTES
    for tool in ("gcc", "cc", "make", "node", "git"):
        assert stack.compose("exec", "-T", "worker", "sh", "-c", f"command -v {tool} || echo none").strip() == "none"


def test_each_container_is_locked_down(stack: Stack) -> None:
    containers = stack.containers()
    assert sum("worker" in name for name in containers) == 2
    for name, container in containers.items():
        host, pid = container["HostConfig"], container["State"]["Pid"]
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert not host["CapAdd"], name
        assert host["SecurityOpt"] == ["no-new-privileges:true"], name
        assert container["Config"]["User"] not in ("", "root", "0"), name
        assert pid
        published = [bound for ports in container["NetworkSettings"]["Ports"].values() for bound in ports or ()]
        assert {bound["HostIp"] for bound in published} == {"127.0.0.1"}, name


async def test_nobody_gets_in_without_a_name(stack: Stack, publisher: Settings) -> None:
    with pytest.raises(ClientError, match="NATS_USER"):
        async with Client(Settings(_env_file=None, nats_url=publisher.nats_url)):
            pass


async def test_a_recording_is_transcribed(stack: Stack, publisher: Settings) -> None:
    # Given the demo recording
    async with Client(publisher) as client:
        # When it goes through the stack
        task = await client.create_transcription_task(RECORDING, diarize=True)
        assert (await ended(client, task)).state is State.COMPLETED
        text = await client.get_task_result(task, ResultFormat.TXT)
    # Then there is a text with its speakers
    assert "SPEAKER_01: " in str(text)
    # And a reader finds the keys in Redis
    url = stack.secret("clients/reader.env").strip().partition("=")[2].replace("6379", str(stack.ports["REDIS_PORT"]))
    async with Redis.from_url(url) as redis:
        assert json.loads(await eventually(lambda: redis.get(f"task:{task}:result")))["task_id"] == task


async def test_a_task_outlives_its_container(stack: Stack, publisher: Settings) -> None:
    async with Client(publisher) as client:
        # Given a task in the midst of its work
        task = await client.create_transcription_task(RECORDING)
        killed = None
        last: ProgressEvent | None = None
        async for event in client.follow(task):
            if not isinstance(event, ProgressEvent):
                continue
            last = event
            if killed is None and event.worker and event.stage is Stage.TRANSCRIBING:
                # When the container that works on it is killed
                killed = event.worker.split("-")[0]
                await asyncio.to_thread(stack.run, "docker", "kill", killed)
        # Then another one ends it
        assert killed is not None
        assert last is not None
        assert (last.state, last.attempt) == (State.COMPLETED, 2)
        assert not str(last.worker).startswith(killed)
    # And all is well again
    stack.compose("up", "--detach", "--wait", *stack.services())


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # what nats-py leaves at each try to reconnect
async def test_nothing_is_lost_when_the_servers_are_killed(stack: Stack, publisher: Settings) -> None:
    async with Client(publisher) as client:
        # Given a task that is queued
        task = await client.create_transcription_task(RECORDING)
        # When NATS and Redis are killed and come back
        await asyncio.to_thread(stack.compose, "kill", "nats", "redis")
        await asyncio.to_thread(stack.compose, "up", "--detach", "--wait", *stack.services())
        # Then the task is done
        assert (await ended(client, task)).state is State.COMPLETED


async def test_prometheus_sees_the_workers_and_reaches_the_alertmanager(stack: Stack) -> None:
    def get_json(port: str, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.ports[port]}{path}", timeout=5) as response:
            return json.load(response)

    async def both_are_up() -> bool:
        samples = get_json("PROMETHEUS_PORT", "/api/v1/query?query=sum(up%7Bjob%3D%22natscribe%22%7D)")["data"][
            "result"
        ]
        return bool(samples) and samples[0]["value"][1] == "2"

    await eventually(both_are_up, within=90)
    await eventually(
        lambda: any(alert["labels"]["severity"] == "none" for alert in get_json("ALERTMANAGER_PORT", "/api/v2/alerts")),
        within=90,
    )
    if "grafana" in stack.services():
        assert get_json("GRAFANA_PORT", "/api/health")["database"] == "ok"


async def test_the_same_over_tls(stack: Stack) -> None:
    # Given the stack with TLS
    services = ("up", "--detach", "--wait", *stack.services())
    await asyncio.to_thread(stack.compose, *services, files=ENCRYPTED)
    # When a client that trusts its authority publishes, the task is done
    async with Client(stack.settings("publisher", trusting=True)) as client:
        task = await client.create_transcription_task(RECORDING)
        assert (await ended(client, task)).state is State.COMPLETED
    # And a client that does not trust it gets an error that names the setting
    with pytest.raises(ClientError, match="NATS_TLS_CA_FILE"):
        async with Client(stack.settings("publisher")):
            pass


async def ended(client: Client, task: str) -> ProgressEvent:
    """The last event of a task."""
    last = None
    async for event in client.follow(task):
        last = event if isinstance(event, ProgressEvent) else last
    assert last is not None
    return last
