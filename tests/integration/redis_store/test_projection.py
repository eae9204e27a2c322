"""The keys in Redis: there at once, the newest event in them, and caught up where Redis has lost its data."""

import json
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionTask
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.command.embedded import ValkeyServer
from app.main import Worker
from app.runtime.errors import TransientError
from app.storage.redis.keys import MARK
from app.tasks.projection.projection import ProjectedEvent, ProjectedResult, RedisProjection
from app.tasks.task_log.record import Metadata, Record
from tests.fakes.engine import FakeEngine
from tests.fakes.messages import event
from tests.integration.conftest import Publisher, StartWorker
from tests.servers import Servers
from tests.waiting import eventually

TASK = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7)
METADATA = Metadata(TASK, 1, "tasks.transcription.high", datetime.now(UTC))


@pytest.fixture
def projection(redis: Redis) -> RedisProjection:
    return RedisProjection(redis)


def happened(sequence: int, state: State, progress: int, stream_sequence: int, *, age_s: float = 0) -> ProjectedEvent:
    time = datetime.now(UTC) - timedelta(seconds=age_s)
    projected = event(state, sequence, progress=progress, time=time)
    return ProjectedEvent(Record(projected, METADATA, stream_sequence), age_s)


async def projected(redis: Redis) -> tuple[str, str]:
    info = json.loads(await redis.get("task:t1:info") or "")
    return info["state"], str(await redis.get("task:t1:progress"))


@pytest.mark.parametrize("stream_sequence", [9, 10, 11])
async def test_an_older_event_does_not_overwrite_a_newer_one(
    projection: RedisProjection, redis: Redis, stream_sequence: int
) -> None:
    # Given that the end is projected
    await projection.write_events([happened(5, State.COMPLETED, 100, 11)])
    # When another worker comes with an event from before, or with the same one again
    await projection.write_events([happened(4, State.RUNNING, 80, stream_sequence)])
    # Then the end stays
    assert await projected(redis) == ("completed", "100")


async def test_an_event_of_a_new_stream_is_shown_and_an_older_one_of_it_is_not(
    projection: RedisProjection, redis: Redis
) -> None:
    # Given an event that is projected
    projection.stream_created_at = "monday"
    await projection.write_events([happened(5, State.COMPLETED, 100, 100)])
    # When the stream is recreated, and has an event
    projection.stream_created_at = "tuesday"
    await projection.write_events([happened(1, State.QUEUED, 0, 2)])
    # Then it is projected, and nothing before it
    await projection.write_events([happened(1, State.RUNNING, 50, 1)])
    assert await projected(redis) == ("queued", "0")


async def test_a_redis_with_the_rights_of_an_older_version_is_reported_as_such(redis: Redis, servers: Servers) -> None:
    # Given a Redis whose rules lack a command that the script of the projection calls
    await redis.acl_setuser("older", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-zadd"])
    async with Redis.from_url(servers.redis_url.replace("://", "://older:any@")) as older:
        # When an event is projected, then the error says what Redis refuses, and not that Redis is unavailable
        with pytest.raises(TransientError, match=r"^Redis refuses the service \(.*zadd.*users\.sh") as refused:
            await RedisProjection(older).write_events([happened(4, State.RUNNING, 80, 9)])
    # And it does not repeat the script
    assert "EVAL" not in str(refused.value)
    await redis.acl_deluser("older")


async def test_a_full_redis_counts_as_unavailable_until_it_has_room(valkey: ValkeyServer) -> None:
    # Given a Redis with a limit of memory, which it has reached
    async with Redis.from_url(valkey.url) as redis:
        projection = RedisProjection(redis)
        await redis.set("filling", b"x" * 2**20)
        await redis.config_set("maxmemory", "1mb")
        # When an event is projected, then the error has a next step, and metrics and probes report an outage
        with pytest.raises(TransientError, match=r"^Redis is full: give it more memory"):
            await projection.write_events([happened(4, State.RUNNING, 80, 9)])
        assert not await projection.reachable()
        # When it has more room, then all is well, and the question has left nothing
        await redis.config_set("maxmemory", "100mb")
        await redis.delete("filling")
        assert await projection.reachable()
        assert await redis.keys() == []


async def test_a_newer_event_is_shown(projection: RedisProjection, redis: Redis) -> None:
    await projection.write_events([happened(4, State.RUNNING, 80, 9)])
    await projection.write_events([happened(5, State.COMPLETED, 100, 100)])  # as numbers, not as text
    assert await projected(redis) == ("completed", "100")


async def test_what_is_shown_once_more_is_kept_no_longer_for_it(projection: RedisProjection, redis: Redis) -> None:
    # Given what happened six of seven days ago
    day = 24 * 3600
    # When it is projected to a new Redis
    await projection.write_events([happened(5, State.COMPLETED, 100, 10, age_s=6 * day)])
    await projection.write_results({"t1": ProjectedResult(1, b"{}", 6 * day)})
    # Then it goes when it would have gone
    for key in ("task:t1:info", "task:t1:result", "task:t1:progress"):
        assert 0 < await redis.ttl(key) <= day


async def test_a_deleted_task_does_not_come_back(projection: RedisProjection, redis: Redis) -> None:
    # Given a task that was deleted
    await projection.write_events([happened(5, State.COMPLETED, 100, 11)])
    await projection.delete(happened(5, State.COMPLETED, 100, 11).record)
    # When another worker has still to project an event of it
    await projection.write_events([happened(5, State.COMPLETED, 100, 11)])
    # Then nothing is projected, and no key of the task lacks an expiry
    assert not await redis.exists("task:t1:info", "task:t1:progress", "task:t1:result")
    assert [key for key in await redis.keys("*t1*") if await redis.ttl(key) < 0] == []


async def test_a_new_service_shows_its_first_task_at_once(
    publisher: Publisher, start_worker: StartWorker, redis: Redis
) -> None:
    # Given servers that have never seen the service
    await redis.delete(MARK)
    with capture_logs() as lines:
        async with start_worker(FakeEngine()) as worker:
            await publisher.reaching(State.COMPLETED, "t1")

            async def projected() -> bool:
                info = await redis.get("task:t1:info")
                return info is not None and json.loads(info)["state"] == "completed"

            # Then its keys come with the events
            await eventually(projected)
            # And nothing is projected a second time
            await worker.container.maintenance.restart_projection()
    assert "projection_restarted" not in {line["event"] for line in lines}


async def test_a_redis_that_lost_its_data_is_caught_up(publisher: Publisher, worker: Worker, redis: Redis) -> None:
    await publisher.reaching(State.COMPLETED, "t1")
    await eventually(lambda: redis.get("task:t1:result"))
    await redis.flushdb()
    await worker.container.maintenance.restart_projection()
    await eventually(lambda: redis.get("task:t1:result"))
    assert json.loads(await eventually(lambda: redis.get("task:t1:info")))["state"] == "completed"
    # And the list of tasks is as before
    assert [task["task_id"] for task in (await publisher.request("tasks.list", state="completed"))["tasks"]] == ["t1"]
    # And once is enough
    with capture_logs() as lines:
        await worker.container.maintenance.restart_projection()
    assert "projection_restarted" not in {line["event"] for line in lines}


async def test_what_redis_does_not_take_holds_up_nothing_else(
    publisher: Publisher, worker: Worker, redis: Redis
) -> None:
    # Given tasks that are done
    for task in ("t1", "t2", "t3"):
        await publisher.reaching(State.COMPLETED, task)
        await eventually(partial(redis.exists, f"task:{task}:result"))
    # When they are projected again, all at once, and Redis does not take the first, because of a foreign key
    await redis.flushdb()
    await redis.lpush("natscribe:task:t1:projected", "no number")
    await worker.container.maintenance.restart_projection()
    # Then the others are projected
    for task in ("t2", "t3"):
        await eventually(partial(redis.exists, f"task:{task}:info"))
    assert not await redis.exists("task:t1:info")
    # And that one, when the way is free
    await redis.delete("natscribe:task:t1:projected")
    await eventually(lambda: redis.exists("task:t1:info"))
