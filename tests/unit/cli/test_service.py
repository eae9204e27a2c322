"""The service of `natscribe up`: its servers, its workers and its ports."""

import asyncio
import gzip
import os
import socket
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock, Mock, PropertyMock

import pytest
from natscribe.client import ClientError

from app.command import service as module
from app.command.embedded import GuardedProcess, free_port
from app.command.embedded.process import HOST
from app.command.page import PageOptions, choose_page
from app.command.service import LocalService, run_service, windows_per_worker
from app.engines import cores
from app.settings import MOST_WINDOWS, Settings
from tests.tcp import served

Machine = Callable[[int], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """Set the number of cores, without a limit."""

    def has(number: int) -> None:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(number)))
        monkeypatch.setattr(cores, "_QUOTA", tmp_path / "no limit")

    return has


@pytest.mark.parametrize(
    ("number", "workers", "threads", "setting", "windows"),
    [(8, 2, 1, 0, 4), (8, 3, 1, 0, 2), (8, 2, 2, 0, 2), (2, 4, 1, 0, 1), (64, 2, 1, 0, MOST_WINDOWS), (8, 2, 1, 3, 3)],
)
def test_workers_share_the_cores_unless_a_setting_names_the_number_of_windows(
    machine: Machine, number: int, workers: int, threads: int, setting: int, windows: int
) -> None:
    machine(number)
    settings = Settings(_env_file=None, engine_threads=threads, engine_parallel=setting)
    # Then each worker has an equal share, which the settings allow, or what its setting names
    assert windows_per_worker(settings, workers) == windows
    assert Settings(_env_file=None, engine_parallel=windows).engine_parallel == windows


def worker_that_ends(after: int) -> GuardedProcess:
    """A process that ends after a number of checks."""
    worker = Mock()
    type(worker).ended = PropertyMock(side_effect=[*[False] * after, True])
    return cast("GuardedProcess", worker)


@pytest.mark.parametrize(
    ("replies", "checks", "ready"),
    [((), 9, True), ((503, 200, 503), 9, True), ((503, 503), 2, False), ((200, 503), 1, False)],
)
async def test_a_worker_is_ready_when_both_checks_succeed(replies: tuple[int, ...], checks: int, ready: bool) -> None:
    # Given a health page that replies with these codes in turn, then with 200
    codes, paths = iter(replies), list[str]()

    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        paths.append((await reader.readline()).decode().split()[1])
        writer.write(f"HTTP/1.1 {next(codes, 200)} .\r\n\r\n".encode())
        await writer.drain()

    async with served(reply) as port:
        running = LocalService(lambda: worker_that_ends(checks), {}, [], HOST, port)
        # Then the worker becomes ready, or ends before
        assert await running.wait_until_ready() is ready
    assert paths[-1] == ("/health/ready" if ready or 503 not in replies[:1] else "/health/startup")
    assert running.docs == f"http://127.0.0.1:{port}/docs"


async def test_a_worker_without_a_page_is_not_ready() -> None:
    running = LocalService(lambda: worker_that_ends(1), {}, [], HOST, free_port())
    assert await running.wait_until_ready() is False
    first = running.worker
    running.restart()
    assert running.worker is not first


def fake_server(folder: Path, *, more_config: str = "") -> SimpleNamespace:
    """An embedded server that starts immediately."""
    url = f"embedded://{folder.name}"
    return SimpleNamespace(url=url, more_config=more_config, start=AsyncMock(), stop=AsyncMock())


@pytest.fixture
def other_workers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The workers that use a named NATS already."""
    workers: list[str] = []
    client = AsyncMock(workers=AsyncMock(return_value=workers))
    client.__aenter__.return_value = client
    monkeypatch.setattr(module, "Client", lambda _: client)
    return workers


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Starts a worker process, beside embedded servers that need no process."""
    start = Mock(return_value=AsyncMock())
    monkeypatch.setattr(module, "NatsServer", fake_server)
    monkeypatch.setattr(module, "ValkeyServer", fake_server)
    monkeypatch.setattr(module, "GuardedProcess", start)
    return start


@pytest.mark.parametrize("embed_all", [True, False])
@pytest.mark.parametrize("named", [(), ("NATS_URL",), ("REDIS_URL",), ("NATS_URL", "REDIS_URL")])
async def test_a_server_is_embedded_unless_its_address_is_set(
    start: Mock,
    other_workers: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    named: tuple[str, ...],
    embed_all: bool,
) -> None:
    # Given some addresses, of which a demo uses none, and other workers where both are set
    external = {name: f"{name.lower().removesuffix('_url')}://named" for name in named}
    for name, url in external.items():
        monkeypatch.setenv(name, url)
    other_workers += ["another"] if len(named) > 1 else []
    # When the service runs
    async with run_service(tmp_path, embed_all=embed_all) as running:
        # Then the others are embedded, and the worker uses all
        addresses = {"NATS_URL": "embedded://nats", "REDIS_URL": "embedded://valkey"} | ({} if embed_all else external)
        assert running.servers == addresses
        assert {server.url for server in running.embedded} == {
            url for url in addresses.values() if url.startswith("embedded")
        }
        assert start.call_args.kwargs["env"].items() >= addresses.items()
        # And no page may connect to NATS
        assert [vars(server).get("more_config") for server in running.embedded] == [""] * len(running.embedded)
        start.return_value.stop.assert_not_awaited()
    start.return_value.stop.assert_awaited_once()


@pytest.mark.usefixtures("start")
async def test_an_embedded_redis_is_refused_beside_other_workers(
    other_workers: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://named")
    other_workers.append("another")
    with pytest.raises(ClientError, match="set REDIS_URL"):
        async with run_service(tmp_path):
            pass


@pytest.mark.parametrize(("workers", "options"), [(1, []), (2, ["--workers", "2"])])
async def test_several_workers_share_the_cores(
    start: Mock, machine: Machine, tmp_path: Path, workers: int, options: list[str]
) -> None:
    machine(8)
    async with run_service(tmp_path, workers=workers, host="127.0.0.2", port=free_port()) as running:
        (command,), started = start.call_args
        port = running.docs.rpartition(":")[2].removesuffix("/docs")
        assert command[command.index("--host") :] == ["--host", "127.0.0.2", "--port", port, *options]
    assert started["env"].get("ENGINE_PARALLEL") == (None if workers == 1 else "4")
    # And the grace period of a worker exceeds that of its task
    assert started["grace"] > Settings().task_grace


async def test_a_page_is_served_while_the_service_runs(start: Mock, tmp_path: Path) -> None:
    async with run_service(tmp_path, page=PageOptions(free_port())) as running:
        assert running.page is not None
        contents = list[bytes]()
        for encoding in (None, "gzip"):
            headers = {"Accept-Encoding": encoding} if encoding else {}
            with urllib.request.urlopen(urllib.request.Request(running.page.url, headers=headers)) as response:  # noqa: S310
                assert (response.status, response.headers["Content-Encoding"]) == (HTTPStatus.OK, encoding)
                assert response.headers["Content-Type"] == "text/html; charset=utf-8"
                contents.append(response.read())
        assert gzip.decompress(contents[1]) == contents[0]
        assert [vars(server)["more_config"] for server in running.embedded] == [running.page.nats_config, ""]
    start.return_value.stop.assert_awaited_once()


@pytest.mark.parametrize("option", ["--port", "--websocket-port"])
async def test_a_port_in_use_is_reported(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = PageOptions(port) if option == "--websocket-port" else None
        with pytest.raises(ClientError, match=f"Port {port} is in use: choose another with {option}"):
            async with run_service(tmp_path, port=None if page else port, page=page):
                pass


def test_an_external_nats_is_not_opened_to_pages(tmp_path: Path) -> None:
    assert choose_page(PageOptions(), tmp_path, names_nats=True, http_port=8000) is None
    with pytest.raises(ClientError, match="unset NATS_URL, or open the WebSocket of your server"):
        choose_page(PageOptions(origins=["http://localhost:5173"]), tmp_path, names_nats=True, http_port=8000)
