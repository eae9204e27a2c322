"""A task's way from message to result, with real servers."""

import json

from nats.js import JetStreamContext
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.main import Worker
from tests.integration.conftest import Publisher, parsed, queue_is_empty
from tests.waiting import eventually


async def test_a_published_task_becomes_a_result(publisher: Publisher, worker: Worker, js: JetStreamContext) -> None:
    # Given a worker
    # When another service publishes a task
    await publisher.publish("t1")
    # Then its log has all events, without gaps
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


async def test_the_three_keys_show_what_happened(publisher: Publisher, worker: Worker, redis: Redis) -> None:
    await publisher.reaching(State.COMPLETED, "t1")
    # When the projection has caught up
    await eventually(lambda: redis.get("task:t1:result"))
    await eventually(lambda: progress_is(redis, "100"))
    # Then the status is there too, and all of them expire
    info = json.loads(await redis.get("task:t1:info") or "")
    assert (info["state"], info["result_available"], info["task"]["user_id"]) == ("completed", True, 7)
    assert 0 < await redis.ttl("task:t1:info") <= 7 * 24 * 3600
    assert 24 * 3600 < await redis.ttl("task:t1:progress") <= 7 * 24 * 3600
    assert all(str(key).startswith(("task:", "natscribe:")) for key in await redis.keys())


async def progress_is(redis: Redis, percent: str) -> bool:
    return await redis.get("task:t1:progress") == percent
