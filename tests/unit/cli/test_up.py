"""What `natscribe up` does with workers that end, between its start and its end."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from natscribe.cli.console import DATA, ENDPOINTS
from natscribe.cli.exit_codes import USAGE
from pydantic import ValidationError
from rich.console import Console
from structlog.testing import capture_logs

from app.cli import up
from app.cli.service import LocalService
from app.embedded import EmbeddedError, free_port
from app.settings import Settings
from tests.waiting import eventually


class FakeWorker:
    """A process that ends with a code, or runs until it is stopped."""

    def __init__(self, code: int | None, refusal: str) -> None:
        self.code = code
        self.refusal = refusal
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

    def __init__(self, *codes: int, ready: bool = True, refusal: str = "") -> None:
        self.servers = {"NATS_URL": "nats://127.0.0.1:4222", "REDIS_URL": "redis://127.0.0.1/0"}
        self._workers = iter([*codes, None])
        self._ready = ready
        self._refusal = refusal
        self.worker = FakeWorker(next(self._workers), refusal)
        self.restarts = 0

    async def becomes_ready(self) -> bool:
        return self._ready

    def restart(self) -> None:
        self.restarts += 1
        self.worker = FakeWorker(next(self._workers), self._refusal)


async def serve(running: FakeService, *, until: asyncio.Event | None = None) -> int:
    return await up._until(until or asyncio.Event(), cast("LocalService", running))  # noqa: SLF001 -- a run without its start


@pytest.mark.parametrize("refusal", ["", "another run uses its lock"])
@pytest.mark.parametrize(("code", "ends_with"), [(3, 3), (0, 1)])
@pytest.mark.parametrize(("starts", "event"), [(False, "worker_not_started"), (True, "workers_given_up")])
async def test_workers_that_end_end_the_run(starts: bool, event: str, code: int, ends_with: int, refusal: str) -> None:
    # Given a worker that never takes tasks, or workers that end again and again
    running = FakeService(code, code, code, ready=starts, refusal=refusal)
    with capture_logs() as lines:
        assert await serve(running) == ends_with
    # Then the run says so, and why if that is known
    before = ["service_ready", *["worker_restarted"] * 2] if starts else []
    assert [line["event"] for line in lines] == [*before, event]
    assert (lines[-1]["log_level"], lines[-1]["error"]) == ("error", refusal or None)
    assert running.restarts == (2 if starts else 0)


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize(
    ("task_timeout", "code", "why"), [("60", 1, "no port is free"), ("never", USAGE, "TASK_TIMEOUT is wrong")]
)
async def test_a_run_that_cannot_start_says_why_once(
    monkeypatch: pytest.MonkeyPatch, task_timeout: str, code: int, why: str, watched: bool
) -> None:
    # Given a run whose settings or servers are wrong, at a terminal or without one
    monkeypatch.setattr(up, "err", Console(file=StringIO(), force_terminal=watched))
    monkeypatch.setenv("TASK_TIMEOUT", task_timeout)

    async def start() -> int:
        Settings()
        raise EmbeddedError("no port is free")  # noqa: EM101, TRY003 -- as a server says it

    # Then the log has one line; at a terminal, the command prints the error
    with capture_logs() as lines, pytest.raises((EmbeddedError, ValidationError)) if watched else nullcontext():
        assert await up._log_errors(start()) == code  # noqa: SLF001 -- as above
    assert [why in line["error"] for line in lines] == ([] if watched else [True])


@pytest.mark.parametrize("watched", [True, False])
async def test_a_run_says_what_it_uses_and_leaves_its_addresses_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    # Given a run that is stopped as soon as its worker takes tasks
    screen, stop, running = StringIO(), asyncio.Event(), FakeService()
    monkeypatch.setattr(up, "err", Console(file=screen, force_terminal=watched))
    monkeypatch.setattr(up, "run_service", lambda *_, **__: nullcontext(running))
    DATA.mkdir()
    with capture_logs() as lines:
        serving = asyncio.create_task(up._serve(stop, 2, "127.0.0.1", None, None))  # noqa: SLF001 -- as above
        await eventually(lambda: asyncio.sleep(0, ENDPOINTS.exists() and ENDPOINTS.stat().st_size > 0))
        found = ENDPOINTS.read_text(encoding="utf-8")
        stop.set()
        assert await serving == 0
    # Then commands found its servers meanwhile
    assert "NATS_URL=nats://127.0.0.1:4222\n" in found
    assert not ENDPOINTS.exists()
    # And the log says first what the run uses; a terminal says what it waits for
    assert [line["event"] for line in lines][:1] == ([] if watched else ["service_configured"])
    assert ("starting the servers" in screen.getvalue()) is watched


@pytest.mark.parametrize("watched", [True, False])
async def test_an_embedded_nats_whose_streams_must_be_mended_runs_on_while_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    # Given a worker that does not start, and an embedded NATS, at a terminal or without one
    screen = StringIO()
    monkeypatch.setattr(up, "err", Console(file=screen, force_terminal=watched, color_system="standard"))
    running, stop = FakeService(3, ready=False), asyncio.Event()
    running.embedded = (FakeServer(),)
    serving = asyncio.create_task(serve(running, until=stop))
    # Then the run ends with the worker's code: at a terminal, which says why in red, only when it is stopped
    if watched:
        await eventually(lambda: asyncio.sleep(0, "NATS still runs" in screen.getvalue()))
        assert "\x1b[31mThe worker ended" in screen.getvalue()
        assert not serving.done()
        stop.set()
    async with asyncio.timeout(10):
        assert await serving == 3


async def test_workers_that_end_seldom_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given workers of which each lives for half a minute, and one that lives on
    clock = iter(range(0, 600, 30))
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


@pytest.mark.parametrize("file", ["data", "data/nats"])
async def test_data_that_cannot_be_written_are_an_error_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    # Given a file where the servers have their folder
    monkeypatch.setattr(up, "DATA", tmp_path / "data")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    # When the service is started, then the error names both, and what to do
    with pytest.raises(EmbeddedError, match=rf"/{file} cannot be written \(File exists\): start in another folder"):
        await up._run(1, "127.0.0.1", free_port(), None)  # noqa: SLF001 -- as above


def test_a_folder_has_one_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up._only_run(folder), pytest.raises(EmbeddedError, match="another run uses"), up._only_run(folder):  # noqa: SLF001 -- as above
        pass
    with up._only_run(folder):  # noqa: SLF001 -- as above
        pass
