"""What was computed once is not computed again: the result says so, and it goes with the task."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis

from app.engines.messages import Diarize
from app.main import Worker
from app.settings import Settings
from app.storage.redis import keys
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import DEADLINE, eventually


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"cache_ttl": 3600.0})


async def result_of(publisher: Publisher, task_id: str) -> dict[str, Any]:
    await publisher.until(task_id, State.COMPLETED)
    return await publisher.request("tasks.result", task_id=task_id, format="json")


async def texts_of(publisher: Publisher, task_id: str, count: int) -> list[str]:
    """The first `count` texts that followers of a task's segments receive."""
    texts: list[str] = []
    subscription = await publisher.js.subscribe(
        subjects.segments(task_id), stream="transcription_segments", ordered_consumer=True
    )
    async with asyncio.timeout(DEADLINE):
        while len(texts) < count:
            event = SegmentsEvent.model_validate_json((await subscription.next_msg(timeout=DEADLINE)).data)
            texts += [segment.text for segment in event.segments]
    await subscription.unsubscribe()
    return texts


def content(result: dict[str, object]) -> dict[str, object]:
    """A result without what differs from task to task."""
    return {name: value for name, value in result.items() if name not in {"task_id", "created_at", "cached"}}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Kind.TRANSCRIPTION, {}),
        (Kind.TRANSCRIPTION, {"language": "en", "word_timestamps": True}),
        (Kind.TRANSCRIPTION, {"diarize": True, "max_speakers": 3}),
        (Kind.DIARIZATION, {"min_speakers": 2}),
    ],
)
async def test_the_same_is_not_computed_twice(
    worker: Worker, engine: FakeEngine, publisher: Publisher, kind: Kind, options: dict[str, Any]
) -> None:
    # Given a task that was done
    await publisher.publish("t1", kind=kind, **options)
    first = await result_of(publisher, "t1")
    jobs = len(engine.jobs)
    # When another one has the same options
    await publisher.publish("t2", kind=kind, **options)
    second = await result_of(publisher, "t2")
    # Then its result is the same, says so, and no engine has worked for it
    assert content(second) == content(first)
    assert (first["cached"], second["cached"]) == (False, True)
    assert len(engine.jobs) == jobs


async def test_other_bounds_for_speakers_are_another_question(worker: Worker, publisher: Publisher) -> None:
    await publisher.reaching(State.COMPLETED, "t1", kind=Kind.DIARIZATION, max_speakers=2)
    await publisher.publish("t2", kind=Kind.DIARIZATION, max_speakers=3)
    assert (await result_of(publisher, "t2"))["cached"] is False


async def test_another_recording_under_the_same_name_is_computed(
    worker: Worker, publisher: Publisher, recordings_folder: Path
) -> None:
    await publisher.reaching(State.COMPLETED, "t1")
    # When the recording is replaced
    (recordings_folder / "meeting.flac").write_bytes(b"another meeting")
    await publisher.publish("t2")
    # Then it is transcribed
    assert (await result_of(publisher, "t2"))["cached"] is False


async def test_followers_of_segments_receive_cached_text(worker: Worker, publisher: Publisher) -> None:
    for task_id in ("t1", "t2"):
        await publisher.reaching(State.COMPLETED, task_id)
    assert await texts_of(publisher, "t2", 3) == await texts_of(publisher, "t1", 3)


async def test_a_lost_worker_costs_no_more_than_a_chunk_of_the_search_for_speakers(
    start_worker: StartWorker, engine: FakeEngine, publisher: Publisher, redis: Redis
) -> None:
    # Given a worker that stops after it has analysed the voices of a chunk
    engine.hangs_after = [0]
    async with start_worker(engine):
        await publisher.publish("t1", kind=Kind.DIARIZATION)
        await eventually(lambda: redis.exists(keys.chunks("t1")))
    # When another one continues
    second = FakeEngine()
    async with start_worker(second):
        await publisher.until("t1", State.COMPLETED)
        # Then its results are not cached
        await eventually(lambda: _is_gone(redis, keys.chunks("t1")))
    # But the other one was given it
    (job,) = second.jobs
    assert isinstance(job, Diarize)
    assert [chunk.index for chunk in job.known] == [0]


@pytest.mark.parametrize("request_", ["tasks.cancel", "tasks.delete"])
async def test_voices_go_with_their_task(
    start_worker: StartWorker, engine: FakeEngine, publisher: Publisher, redis: Redis, request_: str
) -> None:
    # Given a task whose voices were analysed in part
    engine.hangs_after = [0]
    async with start_worker(engine):
        await publisher.publish("t1", kind=Kind.DIARIZATION)
        await eventually(lambda: redis.exists(keys.chunks("t1")))
        # When it is not wanted any more
        await publisher.request(request_, task_id="t1")
        # Then nothing of them is cached
        await eventually(lambda: _is_gone(redis, keys.chunks("t1")))


async def test_voices_of_another_channel_are_not_taken_for_those_of_this_one(
    start_worker: StartWorker, engine: FakeEngine, publisher: Publisher, redis: Redis
) -> None:
    # Given a call with a channel for each side, whose worker is lost in the second channel
    engine.channels, engine.differ = 2, True
    engine.hangs_after = [3, 3, 3, 0]
    async with start_worker(engine):
        await publisher.publish("t1", diarize=True, identify=True)
        await eventually(lambda: _are_analysed(redis, 2))
    # When another worker continues
    async with start_worker(engine):
        await publisher.until("t1", State.COMPLETED)
    # Then each search knows what was analysed of its own channel, and nothing of the other one
    searches = [job for job in engine.jobs if isinstance(job, Diarize)]
    assert [(job.channel, len(job.known)) for job in searches] == [(0, 0), (1, 0), (1, 1)]


async def _are_analysed(redis: Redis, chunks: int) -> bool:
    return int(await redis.hlen(keys.chunks("t1"))) == chunks


async def _is_gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


async def at_work(publisher: Publisher, engine: FakeEngine, kind: Kind = Kind.TRANSCRIPTION) -> None:
    """Have an engine begin with a task, and get no further."""
    engine.may_go_on.clear()
    await publisher.publish("t1", kind=kind)
    await eventually(lambda: bool(engine.jobs))


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_recording_that_is_replaced_while_it_is_transcribed_gives_no_result(
    worker: Worker, publisher: Publisher, engine: FakeEngine, recordings_folder: Path, kind: Kind
) -> None:
    # Given a task at work
    await at_work(publisher, engine, kind=kind)
    # When its recording is replaced
    another = recordings_folder / "another.flac"
    another.write_bytes(b"another meeting")
    another.replace(recordings_folder / "meeting.flac")
    engine.may_go_on.set()
    # Then it fails, for half of it may be of each
    events = await publisher.until("t1", State.FAILED)
    assert events[-1].error is not None
    assert "replaced" in events[-1].error.message


async def test_a_briefly_unavailable_folder_replaces_no_recording(
    worker: Worker, publisher: Publisher, engine: FakeEngine, recordings_folder: Path
) -> None:
    # Given a task at work
    await at_work(publisher, engine)
    # When the folder of recordings is unavailable at its end, and then available again
    away = recordings_folder.rename(recordings_folder.with_name("away"))
    engine.may_go_on.set()
    events = await publisher.until("t1", State.RETRYING)
    away.rename(recordings_folder)
    # Then it is tried again, and done
    assert events[-1].error is not None
    assert "disappeared" in events[-1].error.message
    await publisher.until("t1", State.COMPLETED)


async def test_a_recording_that_was_only_touched_is_the_same(
    worker: Worker, publisher: Publisher, engine: FakeEngine, recordings_folder: Path
) -> None:
    # Given a task at work
    await at_work(publisher, engine)
    # When the same recording is copied there again
    recording = recordings_folder / "meeting.flac"
    recording.write_bytes(recording.read_bytes())
    engine.may_go_on.set()
    # Then it is done
    await publisher.until("t1", State.COMPLETED)
