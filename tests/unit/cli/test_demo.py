"""The command `demo`: its exit codes and its output."""

import asyncio
import re
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import IO
from unittest.mock import AsyncMock

import pytest
from natscribe.cli.exit_codes import INTERRUPTED
from natscribe.client import ClientError

from app.command import demo
from app.command.recording import TWO_READERS
from app.command.service import HTTP_PORT
from tests.unit.messages import result_of, segment
from tests.waiting import eventually

Demo = Callable[..., asyncio.Task[int]]
Ports = list[int]
SHUTDOWN = b"".join(b"line %d\n" % number for number in range(1, 8))
PORT_IN_USE = b'{"event": "Port 8000 is in use", "level": "error"}\n'


@pytest.fixture
def on_signal(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    """What the demos call when they are interrupted."""
    calls: list[Callable[[], object]] = []
    monkeypatch.setattr(demo, "on_stop_signal", calls.append)
    return calls


@pytest.fixture
def demo_of(monkeypatch: pytest.MonkeyPatch, on_signal: list[Callable[[], object]]) -> Demo:
    """Start a demo whose worker gets ready or not, and whose task succeeds or not."""
    del on_signal
    result = result_of(segment(0, "Good morning.", "SPEAKER_00"))
    client = AsyncMock(
        create_transcription_task=AsyncMock(return_value="t1"), get_task_result=AsyncMock(return_value=result)
    )
    client.__aenter__.return_value = client
    monkeypatch.setattr(demo, "Client", lambda _: client)

    def start(
        *, ready: bool = True, succeeds: bool = True, keep: bool = False, log: bytes = b"", ports: Ports | None = None
    ) -> asyncio.Task[int]:
        def run_service(_: object, *, port: int, output: IO[bytes], embed_all: bool) -> nullcontext[SimpleNamespace]:
            assert embed_all
            if ports is not None:
                ports.append(port)
            output.write(log)
            output.flush()
            servers = {"NATS_URL": "nats://127.0.0.1:4222", "REDIS_URL": "redis://127.0.0.1/0"}
            return nullcontext(
                SimpleNamespace(servers=servers, docs="", wait_until_ready=AsyncMock(return_value=ready))
            )

        monkeypatch.setattr(demo, "run_service", run_service)
        monkeypatch.setattr(demo, "follow", AsyncMock(return_value=succeeds))
        return asyncio.create_task(demo.run_until_interrupted(TWO_READERS, keep=keep))

    return start


@pytest.mark.parametrize(("succeeds", "code"), [(True, 0), (False, 1)])
async def test_a_demo_ends_as_its_task_does(
    demo_of: Demo, capsys: pytest.CaptureFixture[str], succeeds: bool, code: int
) -> None:
    assert await demo_of(succeeds=succeeds) == code
    output = capsys.readouterr().out
    assert [text in output for text in ("Good morning.", "Your own recordings:")] == [succeeds] * 2
    assert "Ctrl-C" not in output


@pytest.mark.parametrize(
    ("log", "reported"),
    [(SHUTDOWN, "line 3\nline 4\nline 5\nline 6\nline 7"), (PORT_IN_USE + SHUTDOWN, PORT_IN_USE.decode().strip())],
)
async def test_the_errors_or_last_lines_of_a_worker_that_does_not_start_are_reported(
    demo_of: Demo, log: bytes, reported: str
) -> None:
    with pytest.raises(ClientError, match=f"its last lines say why:\n{re.escape(reported)}$"):
        await demo_of(ready=False, log=log)


async def test_demos_that_start_at_the_same_time_have_different_ports(demo_of: Demo) -> None:
    ports: Ports = []
    await asyncio.gather(*(demo_of(ports=ports) for _ in range(3)))
    assert len(set(ports)) == 3
    assert HTTP_PORT not in ports  # two demos in two processes would both find the default port free


async def test_a_demo_that_keeps_its_servers_ends_when_interrupted(
    demo_of: Demo, on_signal: list[Callable[[], object]], capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a demo that does not stop its servers
    running, output = demo_of(keep=True), ""

    async def waits() -> bool:
        nonlocal output
        output += capsys.readouterr().out
        return "Ctrl-C stops the servers." in output

    await eventually(waits)
    # When it is interrupted, then it ends
    on_signal[0]()
    await eventually(lambda: asyncio.sleep(0, running.done()))
    assert running.result() == INTERRUPTED
