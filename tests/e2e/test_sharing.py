"""One long recording on several real workers, of which some are lost."""

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from natscribe.schemas.progress import State

from app.settings import Share
from tests.e2e.conftest import LIBRIVOX, TWO_READERS, history, owner_of, running, servers, transcribe
from tests.e2e.test_recovery import batches_of, is_same, progress_of, result_of, until_text
from tests.truth.recordings import read, write
from tests.waiting import eventually

pytestmark = [pytest.mark.xdist_group("sharing"), pytest.mark.timeout(300)]

CLIP = min(LIBRIVOX.glob("*.flac"))
STARTS_WITHIN_S = 5.0  # beside other tests, with its upload
REPEATS = 4  # of the demo recording: about eight windows
# A window at a time, so that a fast machine has windows for others, too; and lost workers are soon detected.
ONE_BY_ONE = {"engine_parallel": 1, "engine_batch": 1, "task_ack_wait": 3.0, "task_heartbeat": 1.0}


async def test_two_workers_transcribe_what_one_does_though_one_is_lost_and_a_new_task_starts_at_once(
    tmp_path: Path,
) -> None:
    # Given a recording of minutes, and what a single worker finds in it
    recording = tmp_path / "long.wav"
    write(recording, [read(TWO_READERS)] * REPEATS)
    async with servers(tmp_path / "alone") as defaults:
        async with running(defaults, tmp_path / "alone.log") as worker, worker.client() as client:
            expected = await transcribe(client, recording, word_timestamps=True)
    async with servers(tmp_path / "both") as defaults, AsyncExitStack() as stack:
        settings = defaults.model_copy(update={"share_windows": Share.ALWAYS, **ONE_BY_ONE})
        logs = [tmp_path / "0.log", tmp_path / "1.log"]
        workers = [await stack.enter_async_context(running(settings, log)) for log in logs]
        client = await stack.enter_async_context(workers[0].client())

        def batches_for_others() -> list[int]:
            return [log.read_text(encoding="utf-8").count("shared_window_started") for log in logs]

        # And two workers that transcribe it
        long = await client.create_transcription_task(recording, word_timestamps=True)
        await until_text(client, long)
        owner = workers.index(await owner_of(client, long, workers))
        await eventually(lambda: batches_for_others()[1 - owner] > 0)
        # When another task is published, and once that one has ended, the idle worker is killed
        published = datetime.now(UTC)
        short = progress_of(await history(client, await client.create_transcription_task(CLIP)))
        workers[1 - owner].process.kill()
        events = await history(client, long)
        result = await result_of(client, long)
        assert batches_for_others()[owner] == 0
    # Then the other task has run at once, and has ended before the long one
    first = next(event for event in short if event.state is State.RUNNING)
    assert (first.time - published).total_seconds() < STARTS_WITHIN_S
    progress = progress_of(events)
    assert [short[-1].state, progress[-1].state] == [State.COMPLETED] * 2
    assert progress[-1].time > short[-1].time
    # And the text of the long one is the same, and the times within 50 ms
    assert is_same(result, expected)
    words = [
        [word for segment in transcript.segments for word in segment.words or []] for transcript in (result, expected)
    ]
    assert [word.word for word in words[0]] == [word.word for word in words[1]]
    assert max(abs(a.start - b.start) for a, b in zip(*words, strict=True)) <= 0.05
    # And one attempt, by one worker, is all that clients see
    assert batches_of(events)
    assert len({event.worker for event in progress if event.worker}) == 1
    assert (progress[-1].attempt, [event.state for event in progress].count(State.RETRYING)) == (1, 0)
