"""One long recording on several real workers, of which some are lost."""

import asyncio
import signal
import wave
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest
from natscribe.client import Client
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import TranscriptionResult

from app.settings import Settings, Share
from tests.e2e.conftest import LIBRIVOX, TWO_READERS, Running, running, servers
from tests.e2e.test_recovery import batches_of, history, is_same, owner_of, progress_of, result_of
from tests.waiting import eventually

pytestmark = [pytest.mark.xdist_group("sharing"), pytest.mark.timeout(300)]

CLIP = min(LIBRIVOX.glob("*.flac"))
REPEATS = 5  # of the demo recording: about ten windows
# A window at a time, so that a quick machine has windows to give away, too; and lost workers are soon noticed.
ONE_BY_ONE = {"engine_parallel": 1, "engine_batch": 1, "task_ack_wait": 3.0, "task_heartbeat": 1.0}


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with av.open(str(TWO_READERS)) as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    path = tmp_path_factory.mktemp("recordings") / "long.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.tile(samples, REPEATS).astype("<i2").tobytes())
    return path


async def start(settings: Settings, folder: Path, stack: AsyncExitStack, count: int) -> list[Running]:
    names = [folder / f"{number}.log" for number in range(count)]
    return [await stack.enter_async_context(running(settings, name)) for name in names]


def helps(folder: Path, number: int) -> int:
    """How many batches a worker has begun for others."""
    return (folder / f"{number}.log").read_text(encoding="utf-8").count("help_started")


async def alone(folder: Path, recording: Path) -> TranscriptionResult:
    """What one worker finds without helpers."""
    async with servers(folder) as defaults:
        settings = defaults.model_copy(update={"share_windows": Share.NEVER})
        async with running(settings, folder / "log") as worker, worker.client() as client:
            task_id = await client.create_transcription_task(recording, word_timestamps=True)
            await history(client, task_id)
            return await result_of(client, task_id)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, long_recording: Path) -> TranscriptionResult:
    return asyncio.run(alone(tmp_path_factory.mktemp("alone"), long_recording))


async def shared_run(
    folder: Path, recording: Path, lost: str | None
) -> tuple[TranscriptionResult, list[ProgressEvent], int, int]:
    """Two workers on one recording, of which the owner or the helper is killed; how many batches were helped with."""
    async with servers(folder) as defaults, AsyncExitStack() as stack:
        settings = defaults.model_copy(update={"share_windows": Share.ALWAYS, **ONE_BY_ONE})
        workers = await start(settings, folder, stack, 2)
        client: Client = await stack.enter_async_context(workers[0].client())
        task_id = await client.create_transcription_task(recording, word_timestamps=True)
        owner = await owner_of(client, task_id, workers)
        helper = workers[1 - workers.index(owner)]
        number = workers.index(helper)

        async def begun() -> bool:
            return helps(folder, number) > 0

        await eventually(begun)
        if lost is not None:
            {"owner": owner, "helper": helper}[lost].process.send_signal(signal.SIGKILL)
        events = await history(client, task_id)
        batches_of(events)
        return await result_of(client, task_id), progress_of(events), helps(folder, number), helps(folder, 1 - number)


async def test_two_workers_find_what_one_finds(
    tmp_path: Path, long_recording: Path, wanted: TranscriptionResult
) -> None:
    # Given a recording of minutes, when two workers transcribe it
    found, progress, by_helper, by_owner = await shared_run(tmp_path, long_recording, None)
    # Then the text is the same, and the times within 50 ms
    assert is_same(found, wanted)
    words = [[word for segment in each.segments for word in segment.words or []] for each in (found, wanted)]
    assert [word.word for word in words[0]] == [word.word for word in words[1]]
    assert max(abs(a.start - b.start) for a, b in zip(*words, strict=True)) <= 0.05
    # And one attempt, by one worker, is all that clients see
    assert by_helper >= 1
    assert by_owner == 0
    assert len({event.worker for event in progress if event.worker}) == 1
    assert progress[-1].attempt == 1


async def test_a_lost_helper_costs_its_own_windows_only(
    tmp_path: Path, long_recording: Path, wanted: TranscriptionResult
) -> None:
    # Given two workers that transcribe a recording, when the one that helps is killed
    found, progress, _, _ = await shared_run(tmp_path, long_recording, "helper")
    # Then the owner goes on, in the same attempt, and the result is the same
    assert is_same(found, wanted)
    assert progress[-1].attempt == 1
    assert [event.state for event in progress].count(State.RETRYING) == 0


async def test_a_lost_owner_is_followed_by_the_helper(
    tmp_path: Path, long_recording: Path, wanted: TranscriptionResult
) -> None:
    # Given two workers that transcribe a recording, when the one that has the task is killed
    found, progress, _, _ = await shared_run(tmp_path, long_recording, "owner")
    # Then the other one goes on from the checkpoint, and the result is the same
    assert is_same(found, wanted)
    assert progress[-1].attempt == 2
    assert len({event.worker for event in progress if event.worker}) == 2


async def test_a_worker_that_helps_takes_a_task_at_once(tmp_path: Path, long_recording: Path) -> None:
    async with servers(tmp_path) as defaults, AsyncExitStack() as stack:
        settings = defaults.model_copy(update={"share_windows": Share.ALWAYS, **ONE_BY_ONE})
        workers = await start(settings, tmp_path, stack, 2)
        client: Client = await stack.enter_async_context(workers[0].client())
        # Given a worker that helps another one
        long = await client.create_transcription_task(long_recording)

        async def one_helps() -> bool:
            return helps(tmp_path, 0) + helps(tmp_path, 1) > 0

        await eventually(one_helps)
        # When a task is published
        published = datetime.now(UTC)
        short = await client.create_transcription_task(CLIP)
        events = progress_of(await history(client, short))
        # Then it runs at once, and comes to its end before the long one
        first = next(event for event in events if event.state is State.RUNNING)
        assert (first.time - published).total_seconds() < 1
        assert events[-1].state is State.COMPLETED
        rest = progress_of(await history(client, long))
    assert rest[-1].state is State.COMPLETED
    assert rest[-1].time > events[-1].time
