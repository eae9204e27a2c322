"""The second family of engines, the whole way: a real service with a small network by onnx-asr."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from itertools import chain, pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import pytest_asyncio
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult

from app.settings import Settings
from tests.e2e.conftest import LIBRIVOX, ROOT, Running, running, servers
from tests.sounds import load, silence, write

pytestmark = pytest.mark.xdist_group("onnx")

NETWORKS = ROOT / "tests/networks"
RUSSIAN = ROOT / "tests/recordings/announcements/ru-agent-user.flac"
CLIPS = [*sorted(LIBRIVOX.glob("*.flac")), RUSSIAN]
SLIP = ("a more a amiable", "a more amiable")  # tests/recordings/README.md
REPEATS = 3  # of all clips: some windows
IMPATIENT = {"task_ack_wait": 3.0, "task_heartbeat": 1.0, "task_grace": 0.0}


def said(path: Path) -> str:
    return path.with_suffix(".txt").read_text(encoding="utf-8").strip().replace(*SLIP)


def recording_of(clips: list[Path], path: Path, pause: float) -> Path:
    pieces = chain.from_iterable((load(clip), silence(pause)) for clip in clips)
    return write(path, np.concatenate(list(pieces)), "flac")


def own(settings: Settings, **chosen: object) -> Settings:
    """Settings of a worker that may load our networks."""
    return settings.model_copy(update={"transcription_models_dir": NETWORKS} | chosen)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = tmp_path_factory.mktemp("onnx")
    async with servers(folder) as settings, running(own(settings, cache_ttl=3600), folder / "service.log") as found:
        yield found


async def last_of(client: Client, task_id: str) -> ProgressEvent:
    events = [event async for event in client.follow(task_id)]
    assert isinstance(events[-1], ProgressEvent)
    return events[-1]


async def result_of(client: Client, task_id: str) -> TranscriptionResult:
    last = await last_of(client, task_id)
    assert last.state is State.COMPLETED, last
    result = await client.get_task_result(task_id)
    assert isinstance(result, TranscriptionResult)
    return result


async def test_a_recording_is_read_by_the_network(worker: Running, tmp_path: Path) -> None:
    # Given a recording of two people in two languages, with pauses
    recording = recording_of(CLIPS, tmp_path / "clips.flac", pause=0.6)

    # When a task names the network, and asks for words and speakers
    async with worker.client() as client:
        task_id = await client.create_transcription_task(recording, model="reader", word_timestamps=True, diarize=True)
        result = await result_of(client, task_id)
        subtitles = await client.get_task_result(task_id, ResultFormat.VTT)
        again = await client.create_transcription_task(recording, model="reader", word_timestamps=True, diarize=True)
        repeated = await result_of(client, again)

    # Then every word is right, and the result names the model
    assert result.text == " ".join(said(clip) for clip in CLIPS)
    assert result.model.name == "reader"

    # And words have times and probabilities, in order
    words = [word for segment in result.segments for word in segment.words or []]
    assert all(a.start <= a.end <= b.start for a, b in pairwise(words))
    assert fmean(word.probability for word in words) > 0.8
    assert all((segment.avg_logprob or 0.0) > -0.3 for segment in result.segments)

    # And the announcement has a speaker of its own
    speakers = {segment.speaker for segment in result.segments if "оператора" in segment.text}
    assert len(speakers) == 1
    assert not speakers & {segment.speaker for segment in result.segments if "amiable" in segment.text}

    # And there are subtitles, and the second task has the same result
    assert isinstance(subtitles, str)
    assert "Регистрация оператора." in subtitles
    assert repeated.segments == result.segments


async def test_a_killed_worker_changes_nothing(tmp_path: Path) -> None:
    # Given a recording of some windows, and what an uninterrupted run finds in it
    recording = recording_of(CLIPS * REPEATS, tmp_path / "long.flac", pause=0.7)
    async with servers(tmp_path) as settings:
        impatient = own(settings, **IMPATIENT)
        async with running(impatient, tmp_path / "first.log") as first, first.client() as client:
            wanted = await result_of(client, await client.create_transcription_task(recording, model="reader"))

            # When the worker is killed after the first window of another run
            task_id = await client.create_transcription_task(recording, model="reader")
            await first_segments(client, task_id)
            os.killpg(first.process.pid, signal.SIGKILL)
            await first.process.wait()
            async with running(impatient, tmp_path / "second.log"):
                found = await result_of(client, task_id)

    # Then another one finds the same
    assert wanted.text == " ".join(said(clip) for clip in CLIPS * REPEATS)
    assert found.segments == wanted.segments


async def first_segments(client: Client, task_id: str) -> None:
    async with asyncio.timeout(60):
        async for event in client.follow(task_id):
            if isinstance(event, SegmentsEvent):
                return


@pytest.mark.parametrize(
    ("model", "language", "answer"),
    [("reader", "ja", "does not know 'ja': it knows en, ru"), ("canary-tones", None, "name it in `language`")],
)
async def test_what_the_network_cannot_do_is_said(
    worker: Running, model: str, language: str | None, answer: str
) -> None:
    # Given a task that asks for what its model cannot do
    async with worker.client() as client:
        last = await last_of(client, await client.create_transcription_task(RUSSIAN, model=model, language=language))

    # Then it fails at once, and says what to do
    assert last.state is State.FAILED
    assert last.error is not None
    assert last.error.code is ErrorCode.INVALID_MESSAGE
    assert answer in last.error.message
