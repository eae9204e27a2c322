"""Each key that the service writes to Redis expires: Redis is empty again if the service never runs again."""

import re
from inspect import isfunction, signature

from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis

from app.settings import Settings
from app.storage.redis import keys
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import eventually

NO_KEYS = {"user", "ANYBODY", "NO_USER", "NEVER_WRITTEN"}  # parts of keys, and the key that is never stored


def forms() -> dict[str, str]:
    """Return the keys of the service, by the names of their functions and constants; `*` stands for any id."""
    members = {name: value for name, value in vars(keys).items() if name not in NO_KEYS}
    functions = {name: value for name, value in members.items() if isfunction(value)}
    constants = {name: value for name, value in members.items() if name.isupper() and isinstance(value, str)}
    return constants | {name: value(*("*" for _ in signature(value).parameters)) for name, value in functions.items()}


def name_of(key: str) -> str:
    """Return the name of the function or constant of a key."""
    (name_of_key,) = (
        name for name, form in forms().items() if re.fullmatch(re.escape(form).replace(r"\*", "[^:]+"), key)
    )
    return name_of_key


async def until_written(redis: Redis, names: set[str]) -> dict[str, int]:
    """Wait for keys of these names; return the remaining seconds of all keys."""

    async def read() -> dict[str, int] | None:
        ttls = {key: await redis.ttl(key) for key in [key async for key in redis.scan_iter()]}
        return ttls if names <= {name_of(key) for key in ttls} else None

    return await eventually(read)


async def test_every_key_expires(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, redis: Redis
) -> None:
    # Given an empty Redis, and a worker with a cache
    await redis.flushdb()
    settings.cache_ttl, settings.task_max_retries = 3600, 0
    engine = FakeEngine()
    async with start_worker(engine):
        # When tasks end in each way, one is deleted, one message is no task, and a task runs while another waits
        await publisher.reaching(State.COMPLETED, "deleted")
        await publisher.request("tasks.delete", task_id="deleted")
        await publisher.reaching(State.COMPLETED, "completed", diarize=True)
        engine.fail_with = [RuntimeError("broken")]
        await publisher.reaching(State.FAILED, "failed", user_id="somebody", vocabulary=["Ada"])
        await publisher.js.publish("tasks.transcription.normal", b'{"task_id": "invalid"}')
        await publisher.until("invalid", State.FAILED)
        engine.may_go_on.clear()
        await publisher.reaching(State.RUNNING, "running", kind=Kind.DIARIZATION, max_speakers=9)
        for task_id in ("waiting", "cancelled"):
            await publisher.reaching(State.QUEUED, task_id)
        await publisher.request("tasks.cancel", task_id="cancelled")
        # Then each key of the service exists, and has a time to live
        ttls = await until_written(redis, set(forms()))
        engine.may_go_on.set()
    assert {key: left for key, left in ttls.items() if left < 0} == {}
    # And the lists outlive the keys of their tasks
    of_tasks = max(left for key, left in ttls.items() if name_of(key) in {"info", "projected"})
    assert min(left for key, left in ttls.items() if name_of(key) in {"task_list", "LISTED"}) > of_tasks
