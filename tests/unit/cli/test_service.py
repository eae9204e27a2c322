"""What `natscribe up` gives its workers."""

import asyncio
import os
import socket
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import cast
from unittest.mock import AsyncMock

import pytest

from app.cli import service as module
from app.cli.microphone_page import NoWebSocketError, WebSocketOptions
from app.cli.ports import PortInUseError
from app.cli.service import LocalService, RedisMismatchError, run_service, share_of_cores
from app.embedded import GuardedProcess, free_port
from app.engines import cores
from app.settings import MOST_WINDOWS, Settings

Machine = Callable[[int], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Have so many cores, without a limit."""

    def has(number: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)))
        monkeypatch.setattr(cores, "_QUOTA", tmp_path / "no limit")

    return has


@pytest.mark.parametrize(
    ("number", "workers", "threads", "share"),
    [(8, 2, 1, 4), (8, 3, 1, 2), (8, 2, 2, 2), (2, 4, 1, 1), (64, 2, 1, MOST_WINDOWS)],
)
def test_workers_share_the_cores(machine: Machine, number: int, workers: int, threads: int, share: int) -> None:
    # Given a machine, and an operator who has not said how many windows go at the same time
    machine(number)
    settings = Settings(_env_file=None, engine_threads=threads, engine_parallel=0)
    # When workers are started, then each has an equal share, which the settings allow
    assert share_of_cores(settings, workers) == share
    assert Settings(_env_file=None, engine_parallel=share).engine_parallel == share


def test_what_the_operator_says_goes_first(machine: Machine) -> None:
    machine(8)
    assert share_of_cores(Settings(_env_file=None, engine_parallel=3), workers=2) == 3


class Page:
    """The health page of a worker: what it answers, in their order."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append((await reader.readline()).decode().split()[1])
        code = self.answers.pop(0) if self.answers else 200
        writer.write(f"HTTP/1.1 {code} .\r\n\r\n".encode())
        writer.close()


class FakeWorker:
    """A process that ends after so many looks at it."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    @property
    def ended(self) -> bool:
        self.looks -= 1
        return self.looks < 0


@pytest.mark.parametrize(
    ("answers", "looks", "ready"),
    [((), 9, True), ((503, 200, 503), 9, True), ((503, 503), 2, False), ((200, 503), 1, False)],
)
async def test_a_worker_is_ready_when_both_pages_say_so(answers: tuple[int, ...], looks: int, ready: bool) -> None:
    # Given a worker that answers so
    page, port = Page(*answers), free_port()
    server = await asyncio.start_server(page.answer, "127.0.0.1", port)
    worker = FakeWorker(looks)
    running = LocalService(lambda: cast("GuardedProcess", worker), {}, [], host="127.0.0.1", port=port)
    # When one waits for it, then it becomes ready, or has ended before
    assert await running.becomes_ready() is ready
    assert page.asked[-1] == ("/health/ready" if ready or 503 not in answers[:1] else "/health/startup")
    assert running.docs == f"http://127.0.0.1:{port}/docs"
    server.close()


async def test_a_worker_without_a_page_is_not_ready() -> None:
    running = LocalService(lambda: cast("GuardedProcess", FakeWorker(1)), {}, [], host="127.0.0.1", port=free_port())
    assert await running.becomes_ready() is False
    first = running.worker
    running.restart()
    assert running.worker is not first


class FakeServer:
    """An embedded server that is there at once."""

    def __init__(self, folder: Path, *, more_config: str = "") -> None:
        self.url = f"embedded://{folder.name}"
        self.more_config = more_config

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


@dataclass
class Started:
    """The worker process that was started, and whether other workers use a named NATS."""

    command: Sequence[str] = ()
    grace: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)
    stopped: bool = False
    others: list[str] = field(default_factory=list)

    def __call__(self, command: Sequence[str], *, grace: float, env: Mapping[str, str], **_: object) -> "Started":
        self.command, self.grace, self.env = command, grace, env
        return self

    async def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    found = Started()
    client = AsyncMock(workers=AsyncMock(side_effect=lambda: found.others))
    client.__aenter__.return_value = client
    monkeypatch.setattr(module, "NatsServer", FakeServer)
    monkeypatch.setattr(module, "ValkeyServer", FakeServer)
    monkeypatch.setattr(module, "GuardedProcess", found)
    monkeypatch.setattr(module, "Client", lambda _: client)
    for name in ("NATS_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    return found


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("named", [(), ("NATS_URL",), ("REDIS_URL",), ("NATS_URL", "REDIS_URL")])
async def test_a_server_is_embedded_unless_it_is_named(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: tuple[str, ...], alone: bool
) -> None:
    # Given some servers that are named, of which a demo uses none, and other workers where both are named
    given = {name: f"{name.lower().removesuffix('_url')}://named" for name in named}
    for name, url in given.items():
        monkeypatch.setenv(name, url)
    started.others = ["another"] if len(named) > 1 else []
    # When the service runs
    async with run_service(tmp_path, alone=alone) as running:
        # Then the others are embedded, and the worker uses all
        addresses = {"NATS_URL": "embedded://nats", "REDIS_URL": "embedded://valkey"} | ({} if alone else given)
        assert running.servers == addresses
        assert {server.url for server in running.embedded} == {
            url for url in addresses.values() if url.startswith("embedded")
        }
        assert started.env.items() >= addresses.items()
        # And no page may speak to NATS
        assert [vars(server).get("more_config") for server in running.embedded] == [""] * len(running.embedded)
        assert not started.stopped
    assert started.stopped


async def test_workers_that_use_a_named_nats_keep_their_redis(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://named")
    started.others = ["another"]
    with pytest.raises(RedisMismatchError, match="set REDIS_URL"):
        async with run_service(tmp_path):
            pass


@pytest.mark.parametrize(("workers", "options"), [(1, []), (2, ["--workers", "2"])])
async def test_several_workers_share_the_cores(
    started: Started, machine: Machine, tmp_path: Path, workers: int, options: list[str]
) -> None:
    machine(8)
    async with run_service(tmp_path, workers=workers, host="127.0.0.2", port=free_port()) as running:
        assert started.command[started.command.index("--host") :] == [
            *("--host", "127.0.0.2", "--port", running.docs.rpartition(":")[2].removesuffix("/docs"), *options)
        ]
    assert started.env.get("ENGINE_PARALLEL") == (None if workers == 1 else "4")
    # And each has more time for its end than a task has
    assert started.grace > Settings().task_grace


async def test_a_page_is_served_while_the_service_runs(started: Started, tmp_path: Path) -> None:
    async with run_service(tmp_path, websocket=WebSocketOptions(free_port())) as running:
        assert running.page is not None
        with urllib.request.urlopen(running.page.url) as answer:  # noqa: S310
            assert answer.status == HTTPStatus.OK
        assert [vars(server)["more_config"] for server in running.embedded] == [running.page.nats_config, ""]
    assert started.stopped


@pytest.mark.parametrize("option", ["--port", "--websocket-port"])
async def test_a_port_that_is_taken_is_told(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = WebSocketOptions(port) if option == "--websocket-port" else None
        with pytest.raises(PortInUseError, match=f"Port {port} is in use: choose another with {option}"):
            async with run_service(tmp_path, port=None if page else port, websocket=page):
                pass


async def test_a_named_nats_is_not_opened_to_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:4222")
    with pytest.raises(NoWebSocketError, match="unset NATS_URL, or open the WebSocket of your server"):
        async with run_service(tmp_path, websocket=WebSocketOptions()):
            pass
