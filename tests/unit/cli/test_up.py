"""The command `up`: how it supervises its workers and ends."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import pytest
from natscribe.cli.console import ENDPOINTS
from natscribe.cli.exit_codes import USAGE
from pydantic import ValidationError
from rich.console import Console
from structlog.testing import capture_logs

from app.command import up
from app.command.embedded import EmbeddedError, free_port
from app.command.service import LocalService
from app.settings import Settings
from tests.waiting import eventually


class FakeWorker:
    """A process that ends with a code, or runs until it is stopped."""

    def __init__(self, code: int | None, refusal: str) -> None:
        self.refusal = refusal
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.kill = Mock(side_effect=self.may_stop.set)
        self._code = code
        self.stops = 0

    async def wait(self) -> int:
        if self._code is None:
            await asyncio.Event().wait()
        return self._code or 0

    async def stop(self) -> None:
        self.stops += 1
        await self.may_stop.wait()


class FakeService:
    """A service whose workers end with these codes, one after the other; the last one keeps running."""

    docs = "http://127.0.0.1:8000/docs"
    embedded: tuple[Mock, ...] = ()
    page = None

    def __init__(
        self, *codes: int, ready: bool = True, refusal: str = "", services: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        self.servers = {"NATS_URL": "nats://127.0.0.1:4222", "REDIS_URL": "redis://127.0.0.1/0"}
        self._workers = iter([*codes, None])
        self._ready = ready
        self._refusal = refusal
        self.worker = FakeWorker(next(self._workers), refusal)
        self.restarts = 0
        self.followers = list[FakeWorker]()  # processes of services on top of the events
        self.services = {name: partial(self._follower, iter(codes)) for name, codes in (services or {}).items()}

    def _follower(self, codes: Iterator[int]) -> FakeWorker:
        self.followers.append(FakeWorker(next(codes, None), self._refusal))
        return self.followers[-1]

    async def wait_until_ready(self) -> bool:
        return self._ready

    def restart(self) -> None:
        self.restarts += 1
        self.worker = FakeWorker(next(self._workers), self._refusal)


async def serve(running: FakeService, *, until: asyncio.Event | None = None) -> int:
    return await up.run_until_stopped(until or asyncio.Event(), cast("LocalService", running))


@pytest.mark.parametrize("refusal", ["", "another run uses its lock"])
@pytest.mark.parametrize(("code", "ends_with"), [(3, 3), (0, 1)])
@pytest.mark.parametrize(("starts", "event"), [(False, "worker_not_started"), (True, "workers_given_up")])
async def test_workers_that_end_often_end_the_run(
    starts: bool, event: str, code: int, ends_with: int, refusal: str
) -> None:
    # Given a worker that is never ready, or workers that end repeatedly
    running = FakeService(code, code, code, ready=starts, refusal=refusal)
    with capture_logs() as lines:
        assert await serve(running) == ends_with
    # Then the log says so, and why if that is known
    before = ["service_ready", *["worker_restarted"] * 2] if starts else []
    assert [line["event"] for line in lines] == [*before, event]
    assert (lines[-1]["log_level"], lines[-1]["error"]) == ("error", refusal or None)
    assert running.restarts == (2 if starts else 0)


async def test_a_service_on_top_is_restarted_and_stops_with_the_run() -> None:
    # Given a service that has ended once
    running, stop = FakeService(services={"search": [1]}), asyncio.Event()
    with capture_logs() as lines:
        serving = asyncio.create_task(serve(running, until=stop))
        await eventually(lambda: len(running.followers) == 2)
        # When the run is stopped
        stop.set()
        assert await serving == 0
    # Then it was started again, and is stopped
    assert [line["event"] for line in lines] == ["service_ready", "service_restarted", "service_stopped"]
    assert running.followers[-1].stops == 1


async def test_a_service_on_top_that_ends_often_ends_the_run() -> None:
    running = FakeService(services={"search": [], "forward": [2, 2, 2]})
    with capture_logs() as lines:
        assert await serve(running) == 2
    assert [line["event"] for line in lines][-1:] == ["service_given_up"]
    # And the other one is stopped
    assert [follower.stops for follower in running.followers] == [1, 0, 0, 0]


async def test_no_service_on_top_starts_without_a_worker() -> None:
    running = FakeService(3, ready=False, services={"search": []})
    assert await serve(running) == 3
    assert not running.followers


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize(
    ("task_timeout", "code", "why"), [("60", 1, "no port is free"), ("never", USAGE, "TASK_TIMEOUT is wrong")]
)
async def test_the_cause_of_a_failed_start_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, task_timeout: str, code: int, why: str, watched: bool
) -> None:
    # Given a run whose settings or servers are wrong, at a terminal or without one
    monkeypatch.setattr(up, "err", Console(file=StringIO(), force_terminal=watched))
    monkeypatch.setenv("TASK_TIMEOUT", task_timeout)

    async def start() -> int:
        Settings()
        raise EmbeddedError("no port is free")  # noqa: EM101, TRY003 -- as a server raises it

    # Then the log has one line; at a terminal, the command prints the error
    with capture_logs() as lines, pytest.raises((EmbeddedError, ValidationError)) if watched else nullcontext():
        assert await up.log_errors(start()) == code
    assert [why in line["error"] for line in lines] == ([] if watched else [True])


@pytest.mark.parametrize("watched", [True, False])
async def test_a_run_logs_its_settings_and_stores_its_addresses_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    # Given a run that is stopped as soon as its addresses are stored
    screen, running, on_signal = StringIO(), FakeService(), list[Callable[[], object]]()
    monkeypatch.setattr(up, "err", Console(file=screen, force_terminal=watched))
    monkeypatch.setattr(up, "on_stop_signal", on_signal.append)
    monkeypatch.setattr(up, "run_service", lambda *_, **__: nullcontext(running))
    with capture_logs() as lines:
        serving = asyncio.create_task(up.serve(2, "127.0.0.1", None, None))
        await eventually(lambda: asyncio.sleep(0, ENDPOINTS.exists() and ENDPOINTS.stat().st_size > 0))
        endpoints = ENDPOINTS.read_text(encoding="utf-8")
        on_signal[0]()
        assert await serving == 0
    # Then the file had the addresses only during the run
    assert "NATS_URL=nats://127.0.0.1:4222\n" in endpoints
    assert not ENDPOINTS.exists()
    # And the log starts with the settings; a terminal shows what the run waits for
    assert [line["event"] for line in lines][:1] == ([] if watched else ["service_configured"])
    assert ("starting the servers" in screen.getvalue()) is watched


@pytest.mark.parametrize("watched", [True, False])
async def test_an_embedded_nats_whose_streams_must_be_repaired_keeps_running_at_a_terminal(
    monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    # Given a worker that does not start, and an embedded NATS, at a terminal or without one
    screen = StringIO()
    monkeypatch.setattr(up, "err", Console(file=screen, force_terminal=watched, color_system="standard"))
    running, stop = FakeService(3, ready=False), asyncio.Event()
    running.embedded = (Mock(url=running.servers["NATS_URL"], keep_running=lambda _: asyncio.Event().wait()),)
    serving = asyncio.create_task(serve(running, until=stop))
    # Then the run ends with the worker's code: at a terminal, which says why in red, only when it is stopped
    if watched:
        await eventually(lambda: asyncio.sleep(0, "NATS is still running" in screen.getvalue()))
        assert "\x1b[31mThe worker ended" in screen.getvalue()
        assert not serving.done()
        stop.set()
    async with asyncio.timeout(10):
        assert await serving == 3


async def test_workers_that_end_rarely_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given workers that each run for half a minute, and one that keeps running
    clock = iter(range(0, 600, 30))
    monkeypatch.setattr(up, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    running, stop = FakeService(1, 1, 1, 1), asyncio.Event()
    serving = asyncio.create_task(serve(running, until=stop))

    async def replaced() -> bool:
        return running.restarts == 4

    await eventually(replaced)
    # When the run is stopped, then it succeeds
    stop.set()
    assert await serving == 0


@pytest.mark.parametrize("stops", [True, False])
async def test_a_second_signal_kills_the_worker(stops: bool) -> None:
    # Given a worker that stops at once, or not at all
    running, stop = FakeService(), asyncio.Event()
    if not stops:
        running.worker.may_stop.clear()
    stop.set()
    serving = asyncio.create_task(serve(running, until=stop))
    if not stops:

        async def stops_slowly() -> bool:
            return not stop.is_set() and not serving.done()

        await eventually(stops_slowly)
        stop.set()
    # Then it is killed only by the second signal
    assert await serving == 0
    assert running.worker.kill.called is not stops


@pytest.mark.parametrize("file", ["data", "data/nats"])
async def test_an_unwritable_data_folder_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    # Given a file in place of the servers' folder
    monkeypatch.setattr(up, "DATA", tmp_path / "data")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    # When the service is started, then the error names the file and the next step
    with pytest.raises(EmbeddedError, match=rf"/{file} cannot be written \(File exists\): start in another folder"):
        await up.serve(1, "127.0.0.1", free_port(), None)


def test_a_folder_is_locked_during_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with up.locked_folder(folder), pytest.raises(EmbeddedError, match="another run uses"), up.locked_folder(folder):
        pass
    with up.locked_folder(folder):
        pass
