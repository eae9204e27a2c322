"""What `natscribe up` does with workers that end, between its start and its end."""

import asyncio
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console
from structlog.testing import capture_logs

from app.cli import up
from app.cli.service import Service
from app.embedded import EmbeddedError
from tests.waiting import eventually


class FakeWorker:
    """A process that ends with a code, or runs until it is stopped."""

    refusal = ""

    def __init__(self, code: int | None) -> None:
        self.code = code
        self.stopped = asyncio.Event()
        self.stops = True
        self.killed = False

    async def wait(self) -> int:
        if self.code is None:
            await asyncio.Event().wait()
        return self.code or 0

    async def stop(self) -> int:
        if not self.stops:
            await self.stopped.wait()
        return 0

    def kill(self) -> None:
        self.killed = True
        self.stopped.set()


class FakeServer:
    """An embedded NATS that does not end."""

    url = "nats://127.0.0.1:4222"

    async def keep_running(self, _on_restart: Callable[[str], None]) -> None:
        await asyncio.Event().wait()


class FakeService:
    """A service whose workers end with these codes, one after the other; the last one runs on."""

    docs = "http://127.0.0.1:8000/docs"
    embedded: tuple[FakeServer, ...] = ()
    page = None

    def __init__(self, *codes: int, ready: bool = True) -> None:
        self.servers = {"NATS_URL": "nats://127.0.0.1:4222", "REDIS_URL": "redis://127.0.0.1/0"}
        self._workers = iter([*codes, None])
        self._ready = ready
        self.worker = FakeWorker(next(self._workers))
        self.restarts = 0

    async def becomes_ready(self) -> bool:
        return self._ready

    def restart(self) -> None:
        self.restarts += 1
        self.worker = FakeWorker(next(self._workers))


async def serve(running: FakeService, *, until: asyncio.Event | None = None) -> int:
    return await up._until(until or asyncio.Event(), cast("Service", running))  # noqa: SLF001 -- a run without its start


@pytest.mark.parametrize(("code", "ends_with"), [(3, 3), (0, 1)])
async def test_a_worker_that_never_takes_tasks_ends_the_run(code: int, ends_with: int) -> None:
    running = FakeService(code, ready=False)
    with capture_logs() as lines:
        assert await serve(running) == ends_with
    assert [line["event"] for line in lines] == ["worker_not_started"]
    assert running.restarts == 0


@pytest.mark.parametrize(("code", "ends_with"), [(3, 3), (0, 1)])
async def test_workers_that_end_again_and_again_are_given_up(code: int, ends_with: int) -> None:
    running = FakeService(code, code, code)
    with capture_logs() as lines:
        assert await serve(running) == ends_with
    assert [line["event"] for line in lines] == ["service_ready", *["worker_restarted"] * 2, "workers_given_up"]
    assert running.restarts == 2


@pytest.mark.parametrize("watched", [True, False])
async def test_an_embedded_nats_whose_streams_must_be_mended_runs_on_while_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    # Given a worker that does not start, and an embedded NATS, at a terminal or without one
    screen = StringIO()
    monkeypatch.setattr(up, "err", Console(file=screen, force_terminal=watched))
    running, stop = FakeService(3, ready=False), asyncio.Event()
    running.embedded = (FakeServer(),)
    serving = asyncio.create_task(serve(running, until=stop))
    # Then the run ends with the worker's code: at a terminal only when it is stopped
    if watched:
        await eventually(lambda: asyncio.sleep(0, "NATS still runs" in screen.getvalue()))
        assert not serving.done()
        stop.set()
    async with asyncio.timeout(10):
        assert await serving == 3


async def test_workers_that_end_seldom_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given workers of which each lives for half a minute, and one that lives on
    clock = iter(range(0, 600, 31))
    monkeypatch.setattr(up, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    running, stop = FakeService(1, 1, 1, 1), asyncio.Event()
    serving = asyncio.create_task(serve(running, until=stop))

    async def replaced() -> bool:
        return running.restarts == 4

    await eventually(replaced)
    # When the run is stopped, then it ends well
    stop.set()
    assert await serving == 0


@pytest.mark.parametrize("stops", [True, False])
async def test_a_second_signal_kills_the_worker(stops: bool) -> None:
    # Given a worker that stops at once, or not at all
    running, stop = FakeService(), asyncio.Event()
    running.worker.stops = stops
    stop.set()
    serving = asyncio.create_task(serve(running, until=stop))
    if not stops:

        async def stops_slowly() -> bool:
            return not stop.is_set() and not serving.done()

        await eventually(stops_slowly)
        stop.set()
    # Then it is killed only if somebody asks again
    assert await serving == 0
    assert running.worker.killed is not stops


def test_a_folder_has_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up._only_run(folder), pytest.raises(EmbeddedError, match="another run uses"), up._only_run(folder):  # noqa: SLF001 -- as above
        pass
    with up._only_run(folder):  # noqa: SLF001 -- as above
        pass
