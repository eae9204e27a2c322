"""Servers that end with their parent: their ports, their restarts and the errors of a failed start."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from app.command.embedded import EmbeddedError, GuardedProcess, NatsServer, ValkeyServer, free_port, guard, is_free
from app.command.embedded.process import PORTS
from app.runtime.cancellation import cancel_all
from tests.constants import Constants
from tests.servers import Breakable
from tests.waiting import eventually

GREETER = """
import socket, sys, time
name, port = sys.argv[1], int(sys.argv[2])
if name == "broken":
    sys.exit("line 1\\nline 2\\nline 3\\nline 4\\nline 5\\nline 6")
if name == "silent":
    sys.exit(0)
if name == "deaf":
    time.sleep(60)
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
try:
    server.bind(("127.0.0.1", port))
except OSError:
    sys.exit("the address is in use")
server.listen()
while True:
    one, _ = server.accept()
    one.sendall(name.encode() + b"\\n")
    one.close()
"""


class Greeter(Breakable):
    """A server that sends its name."""

    binary = "greeter"

    def __init__(self, folder: Path, port: int | None = None, *, default: int = 0, name: str = "me") -> None:
        super().__init__(folder, port)
        self.default_port = default
        self.name = name
        self.tried: list[int] = []

    @property
    def url(self) -> str:
        return f"greet://{self.port}"

    def _command(self, port: int) -> list[str]:
        self.tried.append(port)
        return [sys.executable, "-ISc", GREETER, self.name, str(port)]

    async def _is_this_server(self, reader: StreamReader, _: StreamWriter) -> bool:
        return await reader.readline() == f"{self.name}\n".encode()


@pytest.fixture
async def taken() -> AsyncIterator[int]:
    """A port on which another server listens that has another name."""

    async def greet(_: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"another\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_server_has_its_default_port_if_that_is_free(tmp_path: Path) -> None:
    default = free_port()
    server = Greeter(tmp_path / "data", default=default)
    assert server.pid == 0
    await server.start()
    assert (server.port, server.pid > 0) == (default, True)
    # And has the same port after a restart
    for _ in range(2):  # a second kill has no effect
        await server.kill()
    assert server.pid == 0
    await server.start()
    assert server.tried == [default, default]
    await server.stop()


async def test_a_server_gets_another_port_if_its_default_is_in_use(tmp_path: Path, taken: int) -> None:
    server = Greeter(tmp_path, default=taken)
    await server.start()
    assert server.tried == [taken, server.port]
    assert server.port in PORTS
    await server.stop()


@pytest.mark.parametrize("kind", [NatsServer, ValkeyServer])
async def test_a_server_does_not_take_another_of_its_kind_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[NatsServer | ValkeyServer]
) -> None:
    # Given a server on the default port
    first, second = kind(tmp_path / "first", free_port()), kind(tmp_path / "second")
    monkeypatch.setattr(kind, "default_port", first.port)
    await first.start()
    # When another one starts, then it has another port
    await second.start()
    assert second.port in PORTS
    assert second.port != first.port
    await asyncio.gather(first.stop(), second.stop())


async def test_a_given_port_that_is_in_use_is_reported(tmp_path: Path, taken: int) -> None:
    server = Greeter(tmp_path, taken)
    with pytest.raises(EmbeddedError, match=f"greeter did not start on 127.0.0.1:{taken}: the address is in use"):
        await server.start()
    assert server.tried == [taken]
    assert server.pid == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "line 2 / line 3 / line 4 / line 5 / line 6$"),
        ("silent", "it logged nothing$"),
        ("deaf", "it logged nothing$"),
    ],
)
async def test_the_last_lines_of_a_server_that_does_not_start_are_reported(
    tmp_path: Path, name: str, message: str
) -> None:
    # Given a log of an earlier run, and a short timeout for a server that does not reply
    (tmp_path / "server.log").write_text("of an earlier run, in use\n")
    server = Greeter(tmp_path, default=free_port(), name=name)
    if name == "deaf":
        server.start_timeout_s = 0.1
    # When it fails for another reason than its port, then no other port is tried
    with pytest.raises(EmbeddedError, match=message):
        await server.start()
    assert len(server.tried) == 1


async def test_a_folder_has_one_server(tmp_path: Path, constants: Constants) -> None:
    # Given a folder with a server
    constants(LOCK_TIMEOUT_S=0.2)
    first, log = Greeter(tmp_path, free_port()), tmp_path / "other.log"
    await first.start()
    # When another one is started there, then the error names the lock, and no port: that of the first may differ
    with pytest.raises(EmbeddedError, match=r"greeter did not start: another run uses .*/lock: use that run"):
        await Greeter(tmp_path, free_port()).start()
    # And the guard of any other process reports it to its parent alone, not in the log
    with log.open("wb") as output:
        second = GuardedProcess(["sleep", "60"], lock=tmp_path / "lock", grace=1, output=output)
    assert not second.runs
    assert await second.wait() == 1
    assert f"{first.pid}" in second.refusal
    assert log.read_bytes() == b""
    await first.stop()


def test_the_holder_of_a_lock_is_named_while_other_processes_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a lock that a process holds, and another process that ends while all processes are listed
    ended, system = "/proc/1/fd", {name: getattr(os, name) for name in ("listdir", "scandir")}

    def of_ended(name: str, path: Path) -> object:
        if str(path) == ended:
            raise FileNotFoundError(ended)
        return system[name](path)

    for name in system:
        monkeypatch.setattr(os, name, partial(of_ended, name))
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    with subprocess.Popen(["/bin/sleep", "60"], pass_fds=[lock]) as holder:
        try:
            holders = guard.holders(lock)
        finally:
            holder.kill()
    # Then the holder is named
    assert holders == [holder.pid]
    os.close(lock)


async def test_a_server_that_ends_is_restarted(tmp_path: Path) -> None:
    # Given a supervised server
    server, restarted = Greeter(tmp_path, free_port()), list[str]()
    await server.start()
    supervising = asyncio.create_task(server.keep_running(restarted.append))
    for _ in range(5):
        await asyncio.sleep(0)
    assert restarted == []
    # When it is killed
    first = server.pid
    os.kill(first, signal.SIGKILL)
    # Then it is restarted
    await eventually(lambda: server.pid not in {0, first})
    assert restarted == ["greeter"]
    await cancel_all([supervising])
    await server.stop()


@pytest.mark.parametrize(
    ("script", "code"), [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
async def test_a_process_has_an_exit_code(tmp_path: Path, script: str, code: int) -> None:
    process = GuardedProcess([sys.executable, "-ISc", script], lock=tmp_path / "lock", grace=1)
    assert await process.wait() == code
    assert (process.ended, process.runs, process.refusal) == (True, False, "")
    assert process.pid > 0
    process.kill()  # has no effect


async def test_a_process_that_ignores_sigterm_is_killed_after_its_grace_period(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    with (tmp_path / "output").open("wb") as output:
        process = GuardedProcess([sys.executable, "-ISc", stubborn], lock=tmp_path / "lock", grace=0.1, output=output)
    await eventually(lambda: process.runs and (tmp_path / "output").stat().st_size > 0)
    assert await process.stop() != 0
    assert process.ended


@pytest.mark.parametrize("kill", [True, False])
async def test_a_process_can_be_stopped_and_killed(tmp_path: Path, kill: bool) -> None:
    process = GuardedProcess(["sleep", "60"], lock=tmp_path / "lock", grace=5)
    await eventually(lambda: process.runs)
    assert not process.ended
    if kill:
        process.kill()
    assert await process.stop() == (-signal.SIGKILL if kill else 128 + signal.SIGTERM)


def test_free_ports_differ_and_are_free() -> None:
    ports = [free_port() for _ in range(5)]
    assert len(set(ports)) == 5
    assert all(port in PORTS and is_free(port) for port in ports)
    with socket.create_server(("127.0.0.1", ports[0])):
        assert not is_free(ports[0])
