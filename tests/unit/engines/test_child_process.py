"""The worker's side of an engine process, with a program that sends scripted replies to each kind of job."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.wire import Model
from structlog.contextvars import bound_contextvars
from structlog.testing import capture_logs

from app.engines.messages import (
    CloseLiveStream,
    Diarize,
    Failed,
    FindWindows,
    Load,
    Loaded,
    LoadVad,
    Reply,
    WindowSearchAdvanced,
    WindowSearchDone,
)
from app.engines.process.child_process import EngineProcess
from app.runtime.errors import PermanentError, TaskError, TransientError
from app.settings import Settings
from tests.integration.engines.children import replies
from tests.waiting import eventually

PROGRAM = """
import json, sys
answers = json.loads(sys.argv[1])
sys.stdin.readline()
for line in sys.stdin:
    job = json.loads(line)["type"]
    print("", job, sep="\\n", file=sys.stderr, flush=True)
    if job == "diarize":
        sys.exit("dies")
    print(*answers[job], sep="\\n", flush=True)
"""
LOADED = Loaded(model=Model(name="own", revision="1"), fingerprint="cpu")
FOUND: list[Reply] = [WindowSearchAdvanced(seconds=1, complete_until=1), WindowSearchDone(duration_seconds=1)]
ERROR = ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message="It is damaged.")
ANSWERS: dict[str, list[Reply]] = {
    "load": [LOADED],
    "find_windows": FOUND,
    "load_vad": [Failed(error=ERROR, transient=True)],
    "close_live_stream": [Failed(error=ERROR, transient=False)],
}
LISTEN, DIES = FindWindows(path=Path("a.flac")), Diarize(path=Path("a.flac"))


@pytest.fixture
async def engine() -> AsyncIterator[EngineProcess]:
    logged = {job: [reply.model_dump_json() for reply in replies] for job, replies in ANSWERS.items()}
    process = EngineProcess(Settings(_env_file=None), program=(sys.executable, "-c", PROGRAM, json.dumps(logged)))
    yield process
    await process.close()
    assert not children()


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if PROGRAM in child.cmdline()]


async def test_one_process_does_all_jobs_and_retains_its_model(engine: EngineProcess) -> None:
    # Given an engine that has not started, when it loads a model, has two jobs at once, and some that fail
    assert (engine.running, engine.loaded) == (False, None)
    assert await replies(engine, Load()) == [LOADED]
    (child,) = children()
    detected, loaded = await asyncio.gather(replies(engine, LISTEN), replies(engine, Load()))
    assert (detected, loaded) == (FOUND, [LOADED])
    for job, kind in ((LoadVad(), TransientError), (CloseLiveStream(stream="a"), PermanentError)):
        with pytest.raises(kind, match=r"It is damaged\.") as caught:
            await replies(engine, job)
        assert type(caught.value) is kind
        assert caught.value.detail == ERROR
    # Then one process has done them all, and the model is there
    assert children() == [child]
    assert (engine.running, engine.loaded) == (True, LOADED)


async def test_a_process_reuses_its_memory_unless_the_operator_decides_otherwise(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an operator who has set one of the variables of glibc's allocator
    monkeypatch.setenv("MALLOC_ARENA_MAX", "4")
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    # When a process starts, then it has the operator's value, and the service's values of the others
    await replies(engine, Load())
    (child,) = children()
    environment = child.environ()
    assert environment["MALLOC_ARENA_MAX"] == "4"
    assert environment["MALLOC_MMAP_THRESHOLD_"] == environment["MALLOC_TRIM_THRESHOLD_"] == str(256 * 1024 * 1024)


async def test_a_process_that_dies_is_replaced(engine: EngineProcess) -> None:
    await replies(engine, Load())
    # When a process dies in a job, then another attempt may succeed, and does
    with pytest.raises(TransientError, match="give the service more memory"):
        await replies(engine, DIES)
    assert engine.loaded is None
    assert await replies(engine, LISTEN) == FOUND
    # When it dies between jobs, then the next job has another one, which has no model
    (child,) = children()
    child.kill()
    await eventually(lambda: not engine.running)
    assert await replies(engine, LISTEN) == FOUND
    assert engine.loaded is None


@pytest.mark.parametrize(
    ("ending", "code"),
    [(signal.SIGXCPU, ErrorCode.AUDIO_TOO_LARGE), (signal.SIGKILL, ErrorCode.ENGINE_FAILED)],
)
async def test_a_process_that_exceeds_its_cpu_time_has_read_too_large_a_recording(
    ending: signal.Signals, code: ErrorCode
) -> None:
    program = sys.executable, "-c", f"import os; os.kill(os.getpid(), {ending:d})"
    with pytest.raises(TaskError) as caught:
        await replies(EngineProcess(Settings(_env_file=None), program=program), Load())
    assert caught.value.detail.code is code


async def test_a_job_that_is_given_up_ends_its_process(engine: EngineProcess) -> None:
    await replies(engine, Load())
    # When nobody wants the rest of a job's replies, then its process ends at once
    async with aclosing(engine.run(LISTEN)) as run:
        assert await anext(run) == FOUND[0]
    assert not children()
    assert (engine.running, engine.loaded) == (False, None)


async def test_the_log_names_the_task_of_each_line_that_the_process_writes(engine: EngineProcess) -> None:
    # When a process writes something for each of two tasks
    with capture_logs() as lines:
        for task_id, job in (("first", Load()), ("second", LISTEN)):
            with bound_contextvars(task_id=task_id):
                await replies(engine, job)
            await eventually(lambda: any(line["task_id"] == task_id for line in lines))  # noqa: B023 -- awaited at once
    # Then each line names its own, and empty lines are left out
    assert [(line["text"], line["task_id"]) for line in lines] == [("load", "first"), ("find_windows", "second")]
