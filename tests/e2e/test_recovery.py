"""Real workers that are killed, frozen or stopped in the middle of a real recording."""

import asyncio
import os
import signal
import wave
from datetime import UTC, datetime
from pathlib import Path

import av
import numpy as np
import pytest
import pytest_asyncio

from app.client import Client
from schemas.progress import ProgressEvent, State
from schemas.transcription import SegmentsEvent, TranscriptionResult
from tests.e2e.conftest import TWO_READERS, running, servers
from tests.waiting import eventually

pytestmark = pytest.mark.xdist_group("recovery")

RECOVERY_WITHIN = 20  # seconds, a promise of the design at the default settings
REPEATS = 8  # of the demo recording: four minutes, about ten windows


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wanted(long_recording: Path, tmp_path_factory: pytest.TempPathFactory) -> TranscriptionResult:
    """What an uninterrupted run finds."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    async with servers(folder) as settings, running(settings, folder / "log") as service, service.client() as client:
        task_id = await client.create_transcription_task(long_recording)
        await history(client, task_id)
        return await result_of(client, task_id)


async def history(client: Client, task_id: str) -> list[ProgressEvent | SegmentsEvent]:
    return [event async for event in client.follow(task_id)]


async def result_of(client: Client, task_id: str) -> TranscriptionResult:
    result = await client.get_task_result(task_id)
    assert isinstance(result, TranscriptionResult)
    return result


async def until_segments(client: Client, task_id: str, count: int) -> None:
    seen = 0
    async for event in client.follow(task_id):
        seen += isinstance(event, SegmentsEvent)
        if seen == count:
            return


def is_same(found: TranscriptionResult, wanted: TranscriptionResult) -> bool:
    """The same text, and the same times within 50 ms."""
    return [s.text for s in found.segments] == [s.text for s in wanted.segments] and all(
        abs(a.start - b.start) <= 0.05 and abs(a.end - b.end) <= 0.05
        for a, b in zip(found.segments, wanted.segments, strict=True)
    )


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_another_worker_goes_on_where_the_first_one_was(
    tmp_path: Path, long_recording: Path, wanted: TranscriptionResult, blow: signal.Signals
) -> None:
    # Given a worker in the middle of a recording, and one that is idle
    async with servers(tmp_path) as found:
        settings = found.model_copy(update={"task_ack_wait": 3.0, "task_heartbeat": 1.0, "task_grace": 0.0})
        async with running(settings, tmp_path / "first.log") as first, first.client() as client:
            task_id = await client.create_transcription_task(long_recording)
            await until_segments(client, task_id, 2)
            async with running(settings, tmp_path / "second.log"):
                # When the first one is killed, frozen or stopped
                first.process.send_signal(blow)
                events = await history(client, task_id)
                if blow is signal.SIGSTOP:  # and comes back when all is over
                    first.process.send_signal(signal.SIGCONT)
                    await eventually(first.ready)
                # Then nothing was published twice: each batch once, one end, the same result
                assert await history(client, task_id) == events
                assert is_same(await result_of(client, task_id), wanted)
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    batches = [event for event in events if isinstance(event, SegmentsEvent)]
    assert [event.sequence for event in progress] == list(range(1, len(progress) + 1))
    assert [event.sequence for event in batches] == list(range(1, len(batches) + 1))
    assert len({event.worker for event in progress if event.worker}) == 2
    assert [event.state for event in progress].count(State.COMPLETED) == 1
    # And a graceful stop is no attempt
    assert progress[-1].attempt == (1 if blow is signal.SIGTERM else 2)


async def test_a_dead_worker_is_noticed_in_time(tmp_path: Path, long_recording: Path) -> None:
    # Given the settings as they are, a worker in the middle of a recording, and one that is idle
    async with servers(tmp_path) as settings, running(settings, tmp_path / "first.log") as first:
        async with first.client() as client, running(settings, tmp_path / "second.log"):
            task_id = await client.create_transcription_task(long_recording)
            await until_segments(client, task_id, 1)
            (owner,) = {event.worker for event in await so_far(client, task_id) if event.worker}
            # When the one that works is killed
            os.kill(int((owner or "").split("-")[-2]), signal.SIGKILL)
            killed_at = datetime.now(UTC)
            # Then the other one has the task soon
            after = next(event for event in await states(client, task_id) if event.attempt == 2)
            assert (after.time - killed_at).total_seconds() <= RECOVERY_WITHIN


async def so_far(client: Client, task_id: str) -> list[ProgressEvent]:
    found = []
    async for event in client.follow(task_id):
        if isinstance(event, SegmentsEvent):
            return found
        found.append(event)
    return found


async def test_a_running_task_is_cancelled_within_two_seconds(tmp_path: Path, long_recording: Path) -> None:
    async with servers(tmp_path) as settings, running(settings, tmp_path / "log") as service:
        async with service.client() as client:
            # Given a worker in the middle of a recording
            task_id = await client.create_transcription_task(long_recording)
            await until_segments(client, task_id, 1)
            # When its task is cancelled
            async with asyncio.timeout(2):
                assert (await client.cancel(task_id)).state is State.CANCELLED
                # Then its slot is free for the next one
                other = await client.create_transcription_task(TWO_READERS)
                async for event in client.follow(other):
                    if isinstance(event, ProgressEvent) and event.state is State.RUNNING:
                        break
            assert [event.state for event in await states(client, other)][-1] is State.COMPLETED
            assert (await states(client, task_id))[-1].state is State.CANCELLED


async def states(client: Client, task_id: str) -> list[ProgressEvent]:
    return [event for event in await history(client, task_id) if isinstance(event, ProgressEvent)]


async def test_an_attempt_that_takes_too_long_is_ended_and_gone_on_with(tmp_path: Path, long_recording: Path) -> None:
    # Given less time for an attempt than the recording needs
    async with servers(tmp_path) as found:
        changes = {"task_timeout": 8.0, "task_retry_delay": 0.1, "task_max_retries": 20}
        settings = found.model_copy(update=changes)
        async with running(settings, tmp_path / "log") as service, service.client() as client:
            # When it is worked on
            task_id = await client.create_transcription_task(long_recording)
            events = await states(client, task_id)
    # Then each attempt goes on where the one before ended, and together they are enough
    assert events[-1].state is State.COMPLETED, events[-1]
    retries = [event for event in events if event.state is State.RETRYING]
    assert retries
    assert all(event.error is not None and event.error.code == "timeout" for event in retries)
