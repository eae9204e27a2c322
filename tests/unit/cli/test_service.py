"""What `natscribe up` gives its workers."""

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from app.cli.ports import PortInUseError
from app.cli.service import Service, service, share_of_cores
from app.embedded import Guarded, free_port
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
    running = Service(lambda: cast("Guarded", worker), {}, [], host="127.0.0.1", port=port)
    # When one waits for it, then it becomes ready, or has ended before
    assert await running.becomes_ready() is ready
    assert page.asked[-1] == ("/health/ready" if ready or 503 not in answers[:1] else "/health/startup")
    assert running.docs == f"http://127.0.0.1:{port}/docs"
    server.close()


async def test_a_worker_without_a_page_is_not_ready() -> None:
    running = Service(lambda: cast("Guarded", FakeWorker(1)), {}, [], host="127.0.0.1", port=free_port())
    assert await running.becomes_ready() is False
    first = running.worker
    running.restart()
    assert running.worker is not first


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"Port {port} is in use"):
            async with service(tmp_path, port=port):
                pass
