"""A task's way from message to result, with real servers."""

import json
from typing import Any

from nats.js import JetStreamContext
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis

from app.engines.messages import Diarize
from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, parsed, queue_is_empty
from tests.waiting import eventually


async def test_a_published_task_becomes_a_result(publisher: Publisher, worker: Worker, js: JetStreamContext) -> None:
    # Given a worker
    # When another service publishes a task
    await publisher.publish("t1")
    # Then its log tells the whole story, without gaps
    events = await publisher.until("t1", State.COMPLETED)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].state is State.QUEUED
    assert events[1].state is State.RUNNING
    assert events[-1].progress == 100
    assert {event.worker for event in events[1:]} == {worker.container.worker_name}
    # And the result is on its subject, made of the segments
    result = parsed(await js.get_last_msg("transcription_results", "results.t1"))
    assert result["text"] == "one two one two one two"
    assert result["segments"][0]["words"] is None
    assert (result["task_id"], result["audio_file_id"], result["user_id"]) == ("t1", "meeting.flac", 7)
    # And nothing is left in the queue
    await eventually(lambda: queue_is_empty(js))


async def test_segments_are_published_while_the_task_runs(
    publisher: Publisher, worker: Worker, js: JetStreamContext
) -> None:
    # Given a task that was worked on
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    # When a client comes late
    subscription = await js.subscribe("segments.t1", stream="transcription_segments", ordered_consumer=True)
    found = [json.loads((await subscription.next_msg(timeout=10)).data) for _ in range(3)]
    # Then it reads the past, in order
    assert [event["sequence"] for event in found] == [1, 2, 3]
    assert [event["processed_seconds"] for event in found] == [10, 20, 30]


async def test_a_diarization_gives_turns(publisher: Publisher, worker: Worker, js: JetStreamContext) -> None:
    await publisher.publish("d1", kind=Kind.DIARIZATION)
    await publisher.until("d1", State.COMPLETED)
    result = parsed(await js.get_last_msg("transcription_results", "results.d1"))
    assert result["kind"] == "diarization"
    assert result["speakers"] == 2
    assert len(result["segments"]) == 6


async def test_the_three_keys_show_what_happened(publisher: Publisher, worker: Worker, redis: Redis) -> None:
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    # When the projection has caught up
    await eventually(lambda: redis.get("task:t1:result"))
    await eventually(lambda: progress_is(redis, "100"))
    # Then the status is there too, and all of them go away some day
    info = json.loads(await redis.get("task:t1:info") or "")
    assert (info["state"], info["result_available"], info["task"]["user_id"]) == ("completed", True, 7)
    assert 0 < await redis.ttl("task:t1:info") <= 7 * 24 * 3600
    assert 24 * 3600 < await redis.ttl("task:t1:progress") <= 7 * 24 * 3600
    assert all(str(key).startswith(("task:", "natscribe:")) for key in await redis.keys())


async def progress_is(redis: Redis, percent: str) -> bool:
    return await redis.get("task:t1:progress") == percent


async def test_a_task_is_transcribed_as_it_says(worker: Worker, engine: FakeEngine, publisher: Publisher) -> None:
    # Given a call with a side on each channel
    engine.channels = 2
    options: dict[str, Any] = {"language": "en", "vocabulary": ["Natscribe"], "prompt": "A call.", "translate": True}
    # When it is to be transcribed in a certain way
    await publisher.publish("t1", **options, channels="separate", user_id="dispatch", diarize=True)
    await publisher.until("t1", State.COMPLETED)
    # Then the engine is told all of it with each batch
    expected = TranscribeOptions.model_validate(options | {"channels": "separate"})
    assert set(engine.options) == {expected}
    # And each side is a speaker of its own, its segments among those of the other one
    result = await publisher.ask("tasks.result", task_id="t1", format="json")
    assert [(each["channel"], each["speaker"]) for each in result["segments"]] == [
        (0, "SPEAKER_00"), (1, "SPEAKER_01"),
    ] * 3  # fmt: skip
    assert (result["channels"], result["speakers"], result["user_id"]) == (2, 2, "dispatch")
    assert result["languages"] == {"en": 54}
    assert not any(isinstance(job, Diarize) for job in engine.jobs)
