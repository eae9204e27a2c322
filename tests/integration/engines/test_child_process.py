"""The engine process: lifetime, errors, and what is left of it."""

import asyncio
import os
import platform
import signal
import sys
from contextlib import aclosing, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions

from app.engines.messages import (
    Diarize,
    FindWindows,
    Load,
    WindowFound,
    WindowSearchAdvanced,
    WindowSearchDone,
)
from app.engines.process.child_process import EngineProcess
from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings
from tests.audio import CLIPS, load, silence, write
from tests.waiting import eventually, patiently

from .children import failure, gone, replies, the_child

RELEASED_KIB = 20 * 1024  # 117 to 181 MiB here, less in another heap; a child that keeps its memory stays at its peak
WITHIN = 10.0  # seconds in which an engine process must be gone: its job would take minutes

pytestmark = pytest.mark.xdist_group("child process")  # one long reading


@pytest.fixture(scope="module")
def long_reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech that keeps an engine busy for a long time."""
    speech = np.concatenate([load(clip) for clip in CLIPS])
    return write(tmp_path_factory.mktemp("long") / "long.flac", np.tile(speech, 24), "flac")


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of silence: a job that costs next to nothing, where only its end matters."""
    return write(tmp_path_factory.mktemp("quiet") / "quiet.wav", silence(2), "pcm_s16le")


async def waits(child: psutil.Process) -> bool:
    """Whether a process does nothing for a while."""
    before = child.cpu_times().user
    await asyncio.sleep(0.3)
    return child.cpu_times().user == before


async def test_cancelling_a_task_kills_the_child_at_once(engine: EngineProcess, long_reading: Path) -> None:
    # Given a task that waits for the engine's next reply
    started = asyncio.Event()

    async def work() -> None:
        async with aclosing(engine.run(Diarize(path=long_reading))) as run:
            async for _ in run:
                started.set()

    task = asyncio.create_task(work())
    await started.wait()
    child = the_child()

    # When it is cancelled
    task.cancel()
    async with asyncio.timeout(patiently(WITHIN)):
        await asyncio.wait([task])

    # Then the child is gone, although its library held the interpreter's lock
    assert task.cancelled()
    assert not child.is_running()


async def test_a_failed_job_leaves_the_process_usable(engine: EngineProcess, tmp_path: Path) -> None:
    # Given an engine
    await replies(engine, Load())
    child = the_child()
    (tmp_path / "text.flac").write_text("not audio")
    (tmp_path / "broken").mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt"):
        (tmp_path / "broken" / name).write_bytes(b"broken")

    # When jobs fail, each for another reason
    unknown = await failure(engine, Load(options=TranscribeOptions(model="no-such-model")))
    broken = await failure(engine, Load(options=TranscribeOptions(model="broken")))
    damaged = await failure(engine, FindWindows(path=tmp_path / "text.flac"))
    foreign = await failure(engine, Load(options=TranscribeOptions(language="xx")))
    vanished = await failure(engine, FindWindows(path=tmp_path / "vanished.flac"))

    # Then each error says what is wrong, and the same process continues
    assert (type(unknown), unknown.detail.code) == (PermanentError, ErrorCode.UNKNOWN_MODEL)
    assert (type(broken), broken.detail.code) == (PermanentError, ErrorCode.UNKNOWN_MODEL)
    assert (type(damaged), damaged.detail.code) == (PermanentError, ErrorCode.AUDIO_UNREADABLE)
    assert (type(foreign), foreign.detail.code) == (PermanentError, ErrorCode.INVALID_MESSAGE)
    assert (type(vanished), vanished.detail.code) == (TransientError, ErrorCode.ENGINE_FAILED)
    assert not any(str(tmp_path) in str(error) for error in (unknown, broken, damaged, foreign, vanished))
    assert await replies(engine, Load())
    assert the_child() == child


async def test_signals_to_the_whole_group_leave_the_child_alone(engine: EngineProcess, quiet: Path) -> None:
    # Given a loaded engine
    await replies(engine, Load())
    child = the_child()

    # When the terminal sends it signals
    for number in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)

    # Then it continues: its worker decides when it stops
    assert isinstance((await replies(engine, FindWindows(path=quiet)))[-1], WindowSearchDone)
    assert the_child() == child


async def test_a_long_recording_is_no_burden(engine: EngineProcess, tmp_path: Path, quiet: Path) -> None:
    # Given twenty minutes of silence
    path = write(tmp_path / "silence.flac", silence(1200), "flac")
    await replies(engine, Load())
    await replies(engine, FindWindows(path=quiet))  # what the first job loads is no matter of length
    before = the_child().memory_info().rss

    # When it is processed
    steps = await replies(engine, FindWindows(path=path))

    # Then progress was emitted on the way, and memory did not grow with the length
    assert sum(isinstance(reply, WindowSearchAdvanced) for reply in steps) > 8
    assert the_child().memory_info().rss - before < 50 * 1024**2  # as samples it has 77 MB


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to return memory")
async def test_an_idle_child_returns_its_free_memory(engine_settings: Settings) -> None:
    # Given a child that counts as idle after a moment
    program = "from app.engines.process import child_main; child_main._IDLE_S = 0.1; child_main.main()"
    engine = EngineProcess(engine_settings, program=(sys.executable, "-c", program))
    try:
        # When it has loaded a model, which takes far more memory than the loaded model
        await replies(engine, Load())
        (child,) = (child for child in psutil.Process().children() if program in child.cmdline())

        # Then it soon has less memory than it had
        async def released() -> bool:
            status = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
            peak, resident = (int(status.partition(f"{name}:")[2].split()[0]) for name in ("VmHWM", "VmRSS"))
            return peak - resident > RELEASED_KIB

        await eventually(released)
    finally:
        await engine.close()


async def test_the_child_waits_for_who_reads_it(engine: EngineProcess, long_reading: Path) -> None:
    # Given a long recording of which only the first reply is read
    run = engine.run(FindWindows(path=long_reading))
    await anext(run)
    child = the_child()

    # When the child does nothing any more
    await eventually(lambda: waits(child))
    child.kill()

    # Then little of the recording was read ahead
    windows = 0
    with suppress(TransientError):
        async for reply in run:
            windows += isinstance(reply, WindowFound)
            assert not isinstance(reply, WindowSearchDone)
    assert 1 <= windows < 10


WORKER = """
import asyncio, sys
from pathlib import Path
from app.engines.messages import Diarize, Load
from app.engines.process.child_process import EngineProcess
from app.settings import Settings

async def main(job):
    engine = EngineProcess(Settings(_env_file=None), longest_line=2**21)
    async for _ in engine.run(Load()):
        print("busy", flush=True)
    async for _ in engine.run(job):
        pass
    await asyncio.Event().wait()

asyncio.run(main({"diarize": Diarize(path=Path(sys.argv[2])), "idle": Load()}[sys.argv[1]]))
"""


@pytest.mark.parametrize(("job", "frozen"), [("diarize", False), ("idle", sys.platform == "linux")])
async def test_a_child_dies_with_its_worker(long_reading: Path, job: str, frozen: bool) -> None:
    # Given a worker whose engine is busy, or so frozen that it cannot see the end of its input
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKER, job, str(long_reading), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    assert await worker.stdout.readline() == b"busy\n"
    child = the_child(worker.pid)
    if frozen:
        child.suspend()

    # When the worker is killed, without a chance to clean up
    os.kill(worker.pid, signal.SIGKILL)
    await worker.wait()

    # Then the engine process is gone, too
    await eventually(lambda: gone(child), within=patiently(WITHIN))
