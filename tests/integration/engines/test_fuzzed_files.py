"""Damaged recordings in fourteen containers: each gives text or an error of its own, and never ends the engine process.

FUZZ_AUDIO is the number of files, FUZZ_SEED another seed; a failure names the seed and the number of its file.
"""

import asyncio
import os
from pathlib import Path

import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.messages import FindWindows, LiveAudioProcessed, ProcessLiveAudio, WindowSearchDone
from app.engines.process.child_process import EngineProcess
from app.runtime.errors import PermanentError, TaskError
from app.settings import Settings

from .children import replies, the_child
from .fuzzed_files import fuzzed, fuzzed_live

FILES = int(os.environ.get("FUZZ_AUDIO", "100"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
MAX_CPU_SECONDS = 30.0  # CPU time for one file
# The numbers of files, with seed 2, that once ended the process (158, 371), ended as `engine_failed` (287, 657, 667,
# 1239), or kept a worker busy with three hours of silence (231).
ONCE_WRONG = (158, 231, 287, 371, 657, 667, 1239)
EXPECTED = {ErrorCode.AUDIO_UNREADABLE, ErrorCode.AUDIO_TOO_LARGE}


async def outcome(engine: EngineProcess, path: Path) -> str:
    """What becomes of a recording: `text`, the code of a lasting error, or what should not happen."""
    before = _spent() if engine.running else 0.0
    try:
        async with asyncio.timeout(20 * MAX_CPU_SECONDS):
            last = (await replies(engine, FindWindows(path=path, choose=True)))[-1]
    except PermanentError as error:
        return error.detail.code
    except (TaskError, TimeoutError) as error:
        return repr(error)
    spent = _spent() - before
    return (
        "text"
        if isinstance(last, WindowSearchDone) and spent <= MAX_CPU_SECONDS
        else f"text after {spent:.0f} s of CPU time"
    )


def _spent() -> float:
    times = the_child().cpu_times()
    return times.user + times.system


@pytest.mark.timeout(3600)
async def test_each_damaged_file_has_text_or_an_error_of_its_own(engine: EngineProcess, tmp_path: Path) -> None:
    # Given damaged recordings, each of which is always the same for its seed and number
    numbers = [*((2, number) for number in ONCE_WRONG), *((SEED, number) for number in range(FILES))]
    outcomes = dict[str, str]()
    pids = set[int]()
    for seed, number in numbers:
        name, content = fuzzed(seed, number)
        (tmp_path / name).write_bytes(content)
        # When each is transcribed as far as its windows
        outcomes[name] = await outcome(engine, tmp_path / name)
        (tmp_path / name).unlink()
        pids.add(the_child().pid if engine.running else 0)
    # Then each has text or a lasting error, one process has read them all, and both occur
    assert {name: became for name, became in outcomes.items() if became not in {"text", *EXPECTED}} == {}
    assert len(pids) == 1
    assert {"text", ErrorCode.AUDIO_UNREADABLE} <= set(outcomes.values())


@pytest.mark.timeout(3600)
async def test_damaged_live_files_never_end_the_process(engine_settings: Settings) -> None:
    # Given live streams of Opus whose files are damaged
    engine = EngineProcess(engine_settings)
    outcomes = dict[str, str]()
    for number in range(FILES // 4):
        audio, pieces = fuzzed_live(SEED, number)
        # When they come in pieces
        try:
            for index, piece in enumerate(pieces):
                job = ProcessLiveAudio(
                    stream=f"s{number}", audio=audio, first=index == 0, data=piece, end=index == len(pieces) - 1
                )
                (processed,) = await replies(engine, job)
                assert isinstance(processed, LiveAudioProcessed)
            outcomes[f"{SEED}-{number}"] = "text"
        except TaskError as error:
            outcomes[f"{SEED}-{number}"] = error.detail.code if isinstance(error, PermanentError) else repr(error)
    await engine.close()
    # Then each has text or a lasting error
    assert {name: became for name, became in outcomes.items() if became not in {"text", *EXPECTED}} == {}
