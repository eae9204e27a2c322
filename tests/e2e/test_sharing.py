"""One long recording on several real workers, of which some are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from natscribe.client import Client
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import TranscriptionResult

from app.settings import Share
from tests.e2e.conftest import LIBRIVOX, TWO_READERS, Running, history, owner_of, running, servers, transcribe
from tests.e2e.test_recovery import batches_of, is_same, progress_of, result_of, until_text
from tests.truth.recordings import read, write
from tests.waiting import eventually

pytestmark = [pytest.mark.xdist_group("sharing"), pytest.mark.timeout(300)]

CLIP = min(LIBRIVOX.glob("*.flac"))
REPEATS = 4  # of the demo recording: about eight windows
# A window at a time, so that a quick machine has windows to give away, too; and lost workers are soon noticed.
ONE_BY_ONE = {"engine_parallel": 1, "engine_batch": 1, "task_ack_wait": 3.0, "task_heartbeat": 1.0}


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "long.wav"
    write(path, [read(TWO_READERS)] * REPEATS)
    return path


async def alone(folder: Path, recording: Path) -> TranscriptionResult:
    """What one worker finds without helpers."""
    async with servers(folder) as defaults:
        settings = defaults.model_copy(update={"share_windows": Share.NEVER})
        async with running(settings, folder / "log") as worker, worker.client() as client:
            return await transcribe(client, recording, word_timestamps=True)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, long_recording: Path) -> TranscriptionResult:
    return asyncio.run(alone(tmp_path_factory.mktemp("alone"), long_recording))


class Pair:
    """Two workers, of which one helps the other with a recording."""

    def __init__(self, workers: list[Running], logs: list[Path], client: Client) -> None:
        self.client = client
        self._workers, self._logs = workers, logs

    def helps(self) -> list[int]:
        """How many batches each worker has begun for the other."""
        return [log.read_text(encoding="utf-8").count("shared_window_started") for log in self._logs]

    async def begin(self, recording: Path) -> tuple[str, Running, Running]:
        """Publish a task, and wait until somebody helps with it: its id, its owner and the helper."""
        task_id = await self.client.create_transcription_task(recording, word_timestamps=True)
        await until_text(self.client, task_id)
        owner = await owner_of(self.client, task_id, self._workers)
        helper = self._workers[1 - self._workers.index(owner)]
        await eventually(lambda: self.helps()[self._workers.index(helper)] > 0)
        return task_id, owner, helper

    async def end(self, task_id: str) -> tuple[TranscriptionResult, list[ProgressEvent]]:
        """The result of a task, and its events."""
        events = await history(self.client, task_id)
        batches_of(events)
        return await result_of(self.client, task_id), progress_of(events)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with servers(tmp_path) as defaults, AsyncExitStack() as stack:
        settings = defaults.model_copy(update={"share_windows": Share.ALWAYS, **ONE_BY_ONE})
        logs = [tmp_path / f"{number}.log" for number in range(2)]
        workers = [await stack.enter_async_context(running(settings, log)) for log in logs]
        yield Pair(workers, logs, await stack.enter_async_context(workers[0].client()))


async def test_two_workers_transcribe_what_one_does_and_a_new_task_starts_at_once(
    pair: Pair, long_recording: Path, wanted: TranscriptionResult
) -> None:
    # Given a recording of minutes that two workers transcribe
    long, _, _ = await pair.begin(long_recording)
    # When another task is published
    published = datetime.now(UTC)
    short = await pair.client.create_transcription_task(CLIP)
    _, others = await pair.end(short)
    found, progress = await pair.end(long)
    # Then it runs at once, and comes to its end before the long one
    first = next(event for event in others if event.state is State.RUNNING)
    assert (first.time - published).total_seconds() < 1
    assert [others[-1].state, progress[-1].state] == [State.COMPLETED] * 2
    assert progress[-1].time > others[-1].time
    # And the text of the long one is the same, and the times within 50 ms
    assert is_same(found, wanted)
    words = [[word for segment in each.segments for word in segment.words or []] for each in (found, wanted)]
    assert [word.word for word in words[0]] == [word.word for word in words[1]]
    assert max(abs(a.start - b.start) for a, b in zip(*words, strict=True)) <= 0.05
    # And one attempt, by one worker, is all that clients see
    assert min(pair.helps()) == 0
    assert len({event.worker for event in progress if event.worker}) == 1
    assert progress[-1].attempt == 1


async def test_a_lost_idle_worker_costs_only_its_own_windows(
    pair: Pair, long_recording: Path, wanted: TranscriptionResult
) -> None:
    # Given two workers that transcribe a recording, when the one that helps is killed
    task_id, _, helper = await pair.begin(long_recording)
    helper.process.kill()
    # Then the owner goes on, in the same attempt, and the result is the same
    found, progress = await pair.end(task_id)
    assert is_same(found, wanted)
    assert progress[-1].attempt == 1
    assert [event.state for event in progress].count(State.RETRYING) == 0
