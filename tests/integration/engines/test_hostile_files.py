"""Uploads that need far more memory or time than a recording does: they fail, and the engine continues."""

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from time import thread_time

import psutil
import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.audio.decoding import probe
from app.engines.audio.limits import Budget, Limit
from app.engines.messages import DiarizationDone, Diarize, FindWindows, WindowSearchDone
from app.engines.process.child_process import EngineProcess
from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.audio import CLIPS
from tests.constants import Constants

from .children import failure, replies, the_child
from .hostile_files import film_with_an_index, large_picture, many_atoms, many_packets, many_tags

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
MAX_MB = 600  # of one engine process


def peak_mb(child: psutil.Process) -> int:
    """The most memory that the process has had."""
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{child.pid}/status").read_text("ascii"), re.MULTILINE)
    assert peak is not None
    return int(peak[1]) // 1024


@ON_LINUX
async def test_a_file_that_promises_a_huge_index_fails_for_good(engine: EngineProcess, tmp_path: Path) -> None:
    # Given less than a kilobyte for which the decoder requests three gigabytes
    film_with_an_index(tmp_path / "index.mov")
    assert (tmp_path / "index.mov").stat().st_size < 1024

    # When it is read, for either kind
    for job in (FindWindows(path=tmp_path / "index.mov"), Diarize(path=tmp_path / "index.mov")):
        error = await failure(engine, job)
        # Then trying again would not help
        assert (type(error), error.detail.code) == (PermanentError, ErrorCode.AUDIO_UNREADABLE)

    # And memory stayed within bounds, and the same process does the next jobs
    child = the_child()
    assert peak_mb(child) < MAX_MB
    assert isinstance((await replies(engine, FindWindows(path=CLIPS[1])))[-1], WindowSearchDone)
    assert isinstance((await replies(engine, Diarize(path=CLIPS[1])))[-1], DiarizationDone)
    assert the_child() == child


@ON_LINUX
async def test_a_huge_picture_is_not_read(engine_settings: Settings, tmp_path: Path) -> None:
    # Given a service for recordings of up to an hour, and a picture of 200 MB in the tags of one
    engine = EngineProcess(engine_settings.model_copy(update={"audio_max_seconds": 3600.0}))
    large_picture(tmp_path / "picture.mp3")
    # When it is processed, then it fails for good, and memory did not grow by the picture
    error = await failure(engine, FindWindows(path=tmp_path / "picture.mp3"))
    assert (type(error), error.detail.code) == (PermanentError, ErrorCode.AUDIO_UNREADABLE)
    assert peak_mb(the_child()) < 250
    await engine.close()


@pytest.mark.parametrize(
    ("write", "refused_as"),
    [
        (many_packets, {ErrorCode.AUDIO_TOO_LARGE}),
        (many_atoms, {ErrorCode.AUDIO_TOO_LARGE, ErrorCode.AUDIO_UNREADABLE}),
    ],
)
def test_reading_ends_in_time_also_before_anything_is_decoded(
    tmp_path: Path, write: Callable[[Path], None], refused_as: set[ErrorCode], constants: Constants
) -> None:
    # Given a file that takes many seconds to go through, and half a second for all reading
    constants(GRACE_S=60)  # the kernel would end this process, which has other threads
    write(tmp_path / "long.mov")
    began = thread_time()
    # When it is measured
    with pytest.raises(PermanentError) as caught:
        probe(tmp_path / "long.mov", Budget(Limit(float("inf"), "AUDIO_MAX_SECONDS", decode_seconds=0.5)))
    # Then it is refused in about that time; where the library itself was stopped, the file may also count as damaged
    assert caught.value.detail.code in refused_as
    assert thread_time() - began < 2


async def test_opening_a_file_ends_in_time_whatever_the_library_does(engine_settings: Settings, tmp_path: Path) -> None:
    # Given a small file on which the library works for minutes before it returns, and two seconds for all reading
    many_tags(tmp_path / "tags.mka")
    engine = EngineProcess(engine_settings.model_copy(update={"audio_max_decode_seconds": 2.0}))
    # When it is processed, or searched for speakers
    for job in (FindWindows(path=tmp_path / "tags.mka"), Diarize(path=tmp_path / "tags.mka")):
        async with asyncio.timeout(120):
            error = await failure(engine, job)
        # Then it fails for good, and the error names the setting
        assert (type(error), error.detail.code) == (PermanentError, ErrorCode.AUDIO_TOO_LARGE)
        assert "AUDIO_MAX_DECODE_SECONDS" in error.detail.message
    # And the next recording has a process again
    assert isinstance((await replies(engine, FindWindows(path=CLIPS[1])))[-1], WindowSearchDone)
    await engine.close()
