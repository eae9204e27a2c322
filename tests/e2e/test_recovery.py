"""Real workers that are killed, frozen or stopped in the middle of a real recording."""

import asyncio
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from natscribe.client import Client
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult

from tests.e2e.conftest import (
    TWO_READERS,
    Running,
    history,
    owner_of,
    running,
    servers,
    transcribe,
)
from tests.truth.recordings import read, write
from tests.waiting import eventually
from tests.witness import witness

pytestmark = pytest.mark.xdist_group("recovery")

# seconds: the promises of the design, the first one at the default settings
FROZEN_FOR = timedelta(seconds=15)  # longer than anything waits for a worker
RECOVERY_WITHIN = {signal.SIGKILL: 20, signal.SIGSTOP: 20, signal.SIGTERM: 2}
IMPATIENT = {"task_ack_wait": 3.0, "task_heartbeat": 1.0, "task_grace": 0.0}
REPEATS = 3  # of the demo recording: about four windows, the first of which is a batch of its own


@pytest.fixture(scope="module")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "long.wav"
    write(path, [read(TWO_READERS)] * REPEATS)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def expected(long_recording: Path, service: Running) -> TranscriptionResult:
    """What an uninterrupted run finds."""
    async with service.client() as client:
        return await transcribe(client, long_recording)


async def result_of(client: Client, task_id: str) -> TranscriptionResult:
    result = await client.get_task_result(task_id)
    assert isinstance(result, TranscriptionResult)
    return result


async def until_text(client: Client, task_id: str) -> None:
    """Wait for the first words of a recording."""
    async for event in client.follow(task_id):
        if isinstance(event, SegmentsEvent):
            return


def is_same(result: TranscriptionResult, expected: TranscriptionResult) -> bool:
    """The same text in the same languages, the same sections without any, and the same times within 50 ms."""
    texts = [[(segment.text, segment.language) for segment in transcript.segments] for transcript in (result, expected)]
    return (
        texts[0] == texts[1]
        and result.untranscribed == expected.untranscribed
        and all(
            abs(a.start - b.start) <= 0.05 and abs(a.end - b.end) <= 0.05
            for a, b in zip(result.segments, expected.segments, strict=True)
        )
    )


def progress_of(events: list[ProgressEvent | SegmentsEvent]) -> list[ProgressEvent]:
    progress_events = [event for event in events if isinstance(event, ProgressEvent)]
    assert [event.sequence for event in progress_events] == list(range(1, len(progress_events) + 1))
    return progress_events


def batches_of(events: list[ProgressEvent | SegmentsEvent]) -> list[SegmentsEvent]:
    """The batches, of which none was repeated or skipped."""
    segments_events = [event for event in events if isinstance(event, SegmentsEvent)]
    assert [event.sequence for event in segments_events] == list(range(1, len(segments_events) + 1))
    return segments_events


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
async def test_another_worker_resumes_from_the_checkpoint(
    tmp_path: Path, long_recording: Path, expected: TranscriptionResult, blow: signal.Signals
) -> None:
    async with servers(tmp_path) as defaults:
        settings = defaults if blow is signal.SIGKILL else defaults.model_copy(update=IMPATIENT)
        async with (
            running(settings, tmp_path / "a.log") as a,
            running(settings, tmp_path / "b.log") as b,
            witness(settings.nats_url) as subscriber,
        ):
            async with a.client() as client:
                # Given two workers, of which one is in the middle of a recording
                task_id = await client.create_transcription_task(long_recording)
                await until_text(client, task_id)
                owner = await owner_of(client, task_id, (a, b))
                # When that one is killed, frozen or stopped
                owner.process.send_signal(blow)
                blown_at = datetime.now(UTC)
                events = await history(client, task_id)
                if blow is signal.SIGSTOP:  # and comes back when all is over
                    await asyncio.sleep((blown_at + FROZEN_FOR - datetime.now(UTC)).total_seconds())
                    owner.process.send_signal(signal.SIGCONT)
                    await eventually(owner.ready)
                # Then nothing was published twice: each batch once, one end, the same result
                assert await history(client, task_id) == events
                assert is_same(await result_of(client, task_id), expected)
                # And a plain subscriber has seen what is stored, and nothing else
                await eventually(subscriber.agrees)
    progress = progress_of(events)
    assert len(batches_of(events)) > 1
    assert len({event.worker for event in progress if event.worker}) == 2
    assert [event.state for event in progress].count(State.COMPLETED) == 1
    # And a graceful stop is no attempt
    assert progress[-1].attempt == (1 if blow is signal.SIGTERM else 2)
    # And the other worker has the task soon
    after = next(event for event in progress if event.worker and f"-{owner.process.pid}-" not in event.worker)
    assert (after.time - blown_at).total_seconds() <= RECOVERY_WITHIN[blow]
