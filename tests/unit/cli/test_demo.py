"""How `natscribe demo` ends, and what it prints."""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import IO
from unittest.mock import AsyncMock

import pytest
from natscribe.cli.exit_codes import INTERRUPTED
from natscribe.client import ClientError

from app.cli import demo
from app.cli.recording import TWO_READERS
from tests.unit.cli.test_results import result_of, said
from tests.waiting import eventually

Demo = Callable[..., asyncio.Task[int]]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    event = asyncio.Event()
    monkeypatch.setattr(demo, "stop_signals", lambda: event)
    return event


@pytest.fixture
def demo_of(monkeypatch: pytest.MonkeyPatch, stop: asyncio.Event) -> Demo:
    """A demo with a worker that gets ready or not, and a task that succeeds or not."""
    del stop
    found = result_of(said(0, "Good morning.", "SPEAKER_00"))
    client = AsyncMock(
        create_transcription_task=AsyncMock(return_value="t1"), get_task_result=AsyncMock(return_value=found)
    )
    client.__aenter__.return_value = client
    monkeypatch.setattr(demo, "Client", lambda _: client)

    def start(*, ready: bool = True, succeeds: bool = True, keep: bool = False) -> asyncio.Task[int]:
        def service(_: object, *, output: IO[bytes], alone: bool) -> nullcontext[SimpleNamespace]:
            assert alone
            output.writelines(b"line %d\n" % number for number in range(1, 8))
            output.flush()
            servers = {"NATS_URL": "nats://127.0.0.1:4222", "REDIS_URL": "redis://127.0.0.1/0"}
            return nullcontext(SimpleNamespace(servers=servers, docs="", becomes_ready=AsyncMock(return_value=ready)))

        monkeypatch.setattr(demo, "run_service", service)
        monkeypatch.setattr(demo, "follow", AsyncMock(return_value=succeeds))
        return asyncio.create_task(demo._interruptible(TWO_READERS, keep=keep))  # noqa: SLF001 -- a run without its end

    return start


@pytest.mark.parametrize(("succeeds", "code"), [(True, 0), (False, 1)])
async def test_a_demo_ends_as_its_task_does(
    demo_of: Demo, capsys: pytest.CaptureFixture[str], succeeds: bool, code: int
) -> None:
    assert await demo_of(succeeds=succeeds) == code
    said = capsys.readouterr().out
    assert [words in said for words in ("Good morning.", "Your own recordings:")] == [succeeds] * 2
    assert "Ctrl-C" not in said


async def test_a_worker_that_does_not_start_says_its_last_lines(demo_of: Demo) -> None:
    with pytest.raises(ClientError, match=r"its last lines say why:\nline 3\nline 4\nline 5\nline 6\nline 7$"):
        await demo_of(ready=False)


async def test_a_demo_that_keeps_its_servers_is_interrupted(
    demo_of: Demo, stop: asyncio.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a demo that keeps its servers
    running, said = demo_of(keep=True), ""

    async def waits() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return "Ctrl-C stops the servers." in said

    await eventually(waits)
    # When it is interrupted, then it ends
    stop.set()
    await eventually(lambda: asyncio.sleep(0, running.done()))
    assert running.result() == INTERRUPTED
