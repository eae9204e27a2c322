"""`natscribe up`: runs the whole service, restarts what ends, and leaves no process behind."""

import asyncio
import json
import os
import signal
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import nats
import psutil
import pytest
import pytest_asyncio
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from app.command.embedded import free_port
from app.command.recording import TWO_READERS
from tests.integration.cli.test_websocket import handshake
from tests.terminal import ROOT, install_command, start_command
from tests.waiting import eventually

pytestmark = [
    pytest.mark.xdist_group("usual ports"),  # a killed server starts again on its port
    pytest.mark.timeout(300),
]

WITHIN_S = 120.0  # a worker imports a lot, and other tests run beside it


@dataclass(frozen=True)
class Up:
    """The running command and its folder."""

    process: Process
    folder: Path
    port: int

    def has_logged(self, words: str) -> bool:
        return self.times_logged(words) > 0

    @property
    def nats_url(self) -> str:
        endpoints = (self.folder / ".data/endpoints.env").read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in endpoints)["NATS_URL"]

    def times_logged(self, words: str) -> int:
        return (self.folder / "up.log").read_text(encoding="utf-8").count(words)

    async def is_ready(self) -> bool:
        try:
            with await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{self.port}/health/ready"):
                return True
        except OSError:
            return False


@asynccontextmanager
async def running_in(folder: Path, *options: str, until: str = "service_ready", **settings: str) -> AsyncIterator[Up]:
    """Run the command with embedded servers in an empty folder, from the log line `until` on."""
    environment = settings | {
        name: value for name, value in os.environ.items() if name not in {"NATS_URL", "REDIS_URL"}
    }
    port = free_port()
    with (folder / "up.log").open("wb") as log, (folder / "up.txt").open("wb") as output:
        process = await start_command(
            folder, "up", "--port", str(port), *options, env=environment, stdout=output.fileno(), stderr=log.fileno()
        )
    up = Up(process, folder, port)
    await eventually(lambda: up.has_logged(until), within=WITHIN_S)
    yield up
    if process.returncode is None:
        process.terminate()
        await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """A run that several tests share: none may end it, or two of its workers."""
    async with running_in(tmp_path_factory.mktemp("up")) as up:
        yield up
        assert up.process.returncode is None


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Up]:
    """A run that the test may end."""
    async with running_in(tmp_path) as up:
        yield up


async def test_a_run_publishes_its_addresses_and_stops_in_order(tmp_path: Path) -> None:
    # Given a running service that is open to pages
    async with running_in(tmp_path) as up:
        endpoints = up.folder / ".data" / "endpoints.env"
        assert "NATS_URL=nats://127.0.0.1:" in endpoints.read_text(encoding="utf-8")
        lines = [json.loads(line) for line in (up.folder / "up.log").read_text(encoding="utf-8").splitlines()]
        (page,) = [line["page"] for line in lines if line["event"] == "service_ready"]
        # And its output is a line for people
        assert (up.folder / "up.txt").read_text(encoding="utf-8") == f"Page   {page}\n"
        # When the page reads the address of NATS
        with urllib.request.urlopen(f"{page}settings.json") as reply:  # noqa: S310
            server = json.load(reply)["server"]
        # Then NATS accepts a WebSocket there
        assert await handshake(server, page.rstrip("/")) == 101
        # When the service is stopped
        up.process.terminate()
        # Then it ends with exit code 0
        assert await asyncio.wait_for(up.process.wait(), WITHIN_S) == 0
    # And without a terminal all lines of its log are JSON, the first with its configuration; no process is left
    lines = [json.loads(line) for line in (up.folder / "up.log").read_text(encoding="utf-8").splitlines()]
    assert lines[0]["event"] == "service_configured"
    assert lines[0]["nats"].startswith("nats://127.0.0.1:")
    assert {"worker_configured", "service_ready", "service_stopped"} <= {line["event"] for line in lines}
    assert not endpoints.exists()
    assert not _left(up.folder)


async def test_services_on_top_of_the_events_run_next_to_the_worker(tmp_path: Path) -> None:
    # Given a rule for a receiver, and a run with both services
    rule = {"name": "crm", "url": "http://127.0.0.1:9", "secret": f"whsec_{'c2VjcmV0' * 4}", "events": ["results"]}
    (tmp_path / "rules.json").write_text(json.dumps([rule | {"allow_private": True}]), encoding="utf-8")
    async with running_in(tmp_path, "--with", "search,forward") as up, await nats.connect(up.nats_url) as nc:
        # When a recording is transcribed
        store = await nc.jetstream().object_store("audio")
        await store.put("readers.flac", TWO_READERS.read_bytes())
        task = b'{"task_id": "t1", "audio_file_id": "readers.flac", "user_id": 7}'
        await nc.jetstream().publish("tasks.transcription.normal", task)

        # Then its text is found
        async def hits() -> object:
            with suppress(NoRespondersError):
                reply = await nc.request("transcripts.search", b'{"query": "dashwood", "user_id": 7}', timeout=5)
                return json.loads(reply.data)["hits"]
            return None

        await eventually(hits)
        # And the result waits for the receiver
        await eventually(lambda: _exists(nc.jetstream().consumer_info("transcription_progress", "forward_crm")))
        # And both end with the run
        up.process.terminate()
        assert await asyncio.wait_for(up.process.wait(), WITHIN_S) == 0
    assert not _left(up.folder)


async def _exists(found: Awaitable[object]) -> bool:
    with suppress(NotFoundError):
        return await found is not None
    return False


async def test_an_unknown_service_is_refused(tmp_path: Path) -> None:
    process = await start_command(tmp_path, "up", "--with", "serach", env=os.environ)
    _, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == 1
    assert "There is no service 'serach': choose from search, forward." in err.decode()


async def test_the_next_steps_are_printed_after_the_model_is_loaded(tmp_path: Path) -> None:
    # When the service is started with a model that does not exist
    async with running_in(tmp_path, until="model_load_failed", TRANSCRIPTION_MODEL="large-v9") as up:
        # Then the log names the model, and the service is not ready
        lines = (tmp_path / "up.log").read_text(encoding="utf-8").splitlines()
        assert any("model_load_failed" in line and "The model 'large-v9' is not known" in line for line in lines)
        assert not up.has_logged("service_ready")


@pytest.mark.parametrize("named", [False, True], ids=["embedded servers", "named servers"])
async def test_a_second_run_in_the_folder_is_refused(lasting: Up, named: bool) -> None:
    # Given a running service
    endpoints = lasting.folder / ".data" / "endpoints.env"
    content = endpoints.read_text(encoding="utf-8")
    addresses = dict(line.split("=", 1) for line in content.splitlines())
    environment = {name: value for name, value in os.environ.items() if name not in addresses}
    # When another run is started in its folder
    second = await start_command(lasting.folder, "up", env=environment | (addresses if named else {}))
    _, err = await asyncio.wait_for(second.communicate(), WITHIN_S)
    # Then the error has the next step, and the first run and its addresses are unchanged
    assert second.returncode == 1
    assert "use that run, or stop it in its terminal" in err.decode()
    assert endpoints.read_text(encoding="utf-8") == content
    assert await lasting.is_ready()


async def test_no_process_survives_a_killed_run(up: Up) -> None:
    # Given a running service: two servers, a worker, and the worker's engine
    assert len(_left(up.folder)) >= 3
    # When the command is killed
    up.process.send_signal(signal.SIGKILL)
    await up.process.wait()
    # Then all of them end
    await eventually(lambda: not _left(up.folder), within=WITHIN_S)


@pytest.mark.parametrize("victim", ["the worker", "its guard"])
async def test_a_killed_worker_is_replaced(lasting: Up, victim: str) -> None:
    # Given a running service
    worker, restarts = _worker(lasting.folder), lasting.times_logged("worker_restarted")
    # When its worker or the guard of its worker is killed
    (worker if victim == "the worker" else psutil.Process(worker.ppid())).kill()
    # Then the old worker has ended, and another one is ready
    await eventually(lambda: _is_gone(worker), within=WITHIN_S)
    await eventually(lasting.is_ready, within=WITHIN_S)
    assert _worker(lasting.folder) != worker
    assert lasting.times_logged("worker_restarted") == restarts + 1


@pytest.mark.parametrize("server", ["nats-server", "valkey-server"])
async def test_a_killed_server_is_restarted(lasting: Up, server: str) -> None:
    # Given a running service
    before = _server(lasting.folder, server)
    # When one of its servers is killed
    before.kill()
    # Then the server is restarted on its port, and the worker is ready again
    await eventually(lambda: lasting.has_logged(f'"server": "{server}"'), within=WITHIN_S)
    await eventually(lasting.is_ready, within=WITHIN_S)
    assert _server(lasting.folder, server) != before


async def test_an_unreachable_nats_is_reported_at_once(tmp_path: Path) -> None:
    # When the service is started with an address without a server, then it ends with a sentence
    env = os.environ | {"NATS_URL": f"nats://me:secret@127.0.0.1:{free_port()}"}
    process = await start_command(tmp_path, "up", env=env)
    _, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert (process.returncode, b"unset NATS_URL for an embedded server" in err) == (1, True)
    assert b"secret" not in err
    assert b"Traceback" not in err


async def test_a_second_ctrl_c_stops_the_run_at_once(up: Up) -> None:
    # Given a running service whose worker and engine processes are frozen
    worker = _worker(up.folder)
    for process in (worker, *worker.children(recursive=True)):
        process.suspend()
    up.process.send_signal(signal.SIGINT)
    await eventually(lambda: up.has_logged("service_stopped"), within=WITHIN_S)
    # When it is interrupted again
    up.process.send_signal(signal.SIGINT)
    # Then it ends without waiting, and no process is left
    assert await asyncio.wait_for(up.process.wait(), 10) == 0
    await eventually(lambda: not _left(up.folder), within=WITHIN_S)


@pytest.mark.parametrize("store", ["nats://audio", "store"])
async def test_the_printed_commands_work_unchanged(tmp_path: Path, store: str) -> None:
    # Given the command in a folder with a space in its name, called by its path, and a store of recordings
    folder, elsewhere = tmp_path / "my work", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "store").mkdir()
    install_command(folder)
    audio_store = store if "://" in store else (tmp_path / store).as_uri()
    # When it is started on a terminal
    async with on_a_terminal(folder, AUDIO_STORE=audio_store) as screen:
        async with asyncio.timeout(WITHIN_S):
            printed = await screen.readuntil(b"in any other folder:\r\n") + await screen.readline()
        # Then each printed command works in another terminal
        here, there = (line.strip() for line in printed.decode().splitlines() if line.startswith("         "))
        code, out, err = await in_a_shell(here, folder)
        assert (code, "SPEAKER_00" in out or "All is well" in out) == (0, True), out + err
        code, out, err = await in_a_shell(there, elsewhere)
        assert (code, "completed" in out or "no tasks" in err) == (0, True), err


def plain_environment() -> dict[str, str]:
    """The environment of a new terminal, which knows neither servers nor the command."""
    unset = {"NATS_URL", "REDIS_URL", "AUDIO_STORE", "VIRTUAL_ENV"}
    inherited = {name: value for name, value in os.environ.items() if name not in unset}
    return inherited | {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TERM": "xterm"}


@asynccontextmanager
async def on_a_terminal(folder: Path, **settings: str) -> AsyncIterator[asyncio.StreamReader]:
    """`bin/natscribe up` of a folder on a terminal, until the block ends; yields what the terminal shows."""
    ours, theirs = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *("bin/natscribe", "up", "--port", str(free_port())),
        cwd=folder,
        env=plain_environment() | settings,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    reader = asyncio.StreamReader()
    screen = os.fdopen(ours, "rb", buffering=0)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), screen)
    try:
        yield reader
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
        transport.close()


async def in_a_shell(line: str, folder: Path) -> tuple[int, str, str]:
    """Run a line as a person would type it in a new terminal; return its exit code and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", line),
        cwd=folder,
        env=plain_environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
    return process.returncode or 0, out.decode(), err.decode()


def _left(folder: Path) -> list[psutil.Process]:
    """All processes that work in the folder, without the guards and the command itself."""
    processes = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = process.info["cmdline"] or []
        is_ours = "-IS" in words or "from natscribe.cli import main; main()" in words
        if str(process.info["cwd"]).startswith(str(folder)) and not is_ours:
            processes.append(process)
    return processes


def _worker(folder: Path) -> psutil.Process:
    return next(process for process in _left(folder) if "faststream" in process.info["cmdline"])


def _server(folder: Path, name: str) -> psutil.Process:
    return next(process for process in _left(folder) if process.name() == name)


def _is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
