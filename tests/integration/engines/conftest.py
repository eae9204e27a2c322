import gc
from collections.abc import AsyncIterator, Callable
from functools import cache
from pathlib import Path

import psutil
import pytest

from app.engines.diarization.diarizer import diarize
from app.engines.diarization.networks import Networks
from app.engines.family import ComputeOptions
from app.engines.messages import DiarizationDone, Diarize
from app.engines.process.child_process import EngineProcess
from app.engines.whisper import bundled
from app.engines.whisper.model import Whisper, load
from app.settings import Settings
from tests.audio import NO_LIMIT


@pytest.fixture(scope="session")
def whisper() -> Whisper:
    return load(bundled.folder(), bundled.IDENTITY, ComputeOptions())


@pytest.fixture(scope="session")
def networks() -> Networks:
    return Networks(threads=1)


@pytest.fixture(scope="session")
def diarized(networks: Networks) -> Callable[[Path], DiarizationDone]:
    """The diarization of a recording, with the voices; each recording is diarized once."""
    return cache(lambda path: diarize(networks, Diarize(path=path, embed=True), NO_LIMIT, lambda _: None))


@pytest.fixture
def engine_settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, transcription_models_dir=tmp_path)


@pytest.fixture
async def engine(engine_settings: Settings) -> AsyncIterator[EngineProcess]:
    """An engine process; when it is closed, nothing of it is left: no process and no open file."""
    gc.collect()  # closes what earlier tests have left
    before = open_files()
    process = EngineProcess(engine_settings, longest_line=2 * 1024**2)
    yield process
    await process.close()
    assert not process.running
    assert open_files() == before


def open_files() -> int:
    return psutil.Process().num_fds()
