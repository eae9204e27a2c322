"""The projection: writes the status, progress and result of each task to Redis, as a copy of the streams."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from natscribe.jetstream.streams import DAY_S, RESULTS_TTL_S
from natscribe.schemas.task_list import cursor_of
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from app.storage.redis import keys
from app.storage.redis.errors import explained_errors
from app.tasks.projection.task_lists import FUNCTIONS, user_of
from app.tasks.task_log.record import Record

PROJECTION_TIMEOUT_S: Final = 2.0
KEEP_S: Final = int(RESULTS_TTL_S)
TOMBSTONE_S: Final = 600  # after this time, no slow worker still writes what it has read before the deletion
KEEP_PROGRESS_S: Final = int(DAY_S)  # counted from each change of the progress
KEEP_MARK_S: Final = int(30 * DAY_S)  # when the mark expires, everything is projected again

# Several workers project one log, so an event is written only if it is newer than the last projected event. The
# sequences of a new stream start at 1 again, so the key of the last event also has the stream's time of creation.
# The progress key lives seven days from the first event, and at least one day from each change.
# `cancelled` deletes the result of the task, and prevents a later write of the result.
# The end of a task deletes its analysed chunks.
WRITE_IF_NEWER: Final = (
    FUNCTIONS
    + """
if ARGV[6] == 'cancelled' then
  redis.call('SET', KEYS[4], ARGV[9], 'EX', ARGV[7])
  redis.call('DEL', KEYS[5])
end
if ARGV[8] == '1' then redis.call('DEL', KEYS[6]) end
local cursor, user, state, expires_at = ARGV[11], ARGV[12], ARGV[6], ARGV[13]
local number, old_cursor, old_user, old_state, made =
  string.match(redis.call('GET', KEYS[3]) or '', '^(%d+) (%S+) (%S+) (%S+) (.*)$')
if made == ARGV[10] and tonumber(ARGV[1]) <= tonumber(number) then return 0 end
if old_cursor ~= cursor or old_user ~= user or old_state ~= state then
  if old_cursor then unlist(old_cursor, old_user, old_state) end
  enlist(cursor, user, state, expires_at)
end
keep_lists(user, state)
redis.call('SET', KEYS[3], table.concat({ARGV[1], cursor, user, state, ARGV[10]}, ' '), 'EX', ARGV[4])
local left = redis.call('TTL', KEYS[2])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
if left < 0 then left = tonumber(ARGV[4]) end
redis.call('SET', KEYS[2], ARGV[3], 'EX', math.max(left, tonumber(ARGV[5])))
return 1
"""
)

DELETE_KEYS: Final = (
    FUNCTIONS
    + """
local cursor, user, state = string.match(redis.call('GET', KEYS[3]) or '', '^%d+ (%S+) (%S+) (%S+)')
if cursor then unlist(cursor, user, state) end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SET', KEYS[3], ARGV[1] .. ' - - - ' .. ARGV[2], 'EX', ARGV[3])
"""
)

WRITE_UNLESS_TOMBSTONE: Final = """
if tonumber(ARGV[3]) <= tonumber(redis.call('GET', KEYS[2]) or '0') then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class ProjectedEvent(NamedTuple):
    """A progress event to be written to Redis; JetStream stored it `age_s` seconds ago."""

    record: Record
    age_s: float


class ProjectedResult(NamedTuple):
    """The result of a task to be written to Redis; JetStream stored it `age_s` seconds ago."""

    task_sequence: int  # sequence of the task message; a later task may have the same id
    result: bytes  # JSON
    age_s: float


def _remaining(keep: int, age_s: float) -> int:
    """Return in how many seconds a Redis key expires: `keep` minus `age_s`, but at least 1.

    `keep`: how many seconds an event or result is kept. `age_s`: how many seconds ago JetStream stored it: so a key
    does not live longer if its event is delivered and written again.
    """
    return max(keep - int(age_s), 1)


async def _execute(writing: Pipeline) -> None:
    """Send the commands of a pipeline to Redis, and raise the first error.

    redis-py itself would add the command, with the data of a task, to the message of the error.
    """
    with explained_errors():
        for reply in await writing.execute(raise_on_error=False):
            if isinstance(reply, RedisError):
                raise reply


class RedisProjection:
    """Writes the three public Redis keys of each task (status, progress, result), deletes them, and lists tasks."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._delete = redis.register_script(DELETE_KEYS)
        self.stream_created_at = ""  # when the stream of progress events was created; empty: not read yet

    async def write_events(self, events: Sequence[ProjectedEvent]) -> None:
        """Write the status and progress of tasks, and put the tasks into the lists of their states.

        An event is not written if Redis has a newer event of its task. An event that ends a task also deletes the
        diarized chunks of the task from Redis; the event `cancelled` deletes the result of the task, too.

        Raises:
            TransientError: Redis is unavailable; some of the events may have been written.
        """
        writing = self._redis.pipeline(transaction=False)
        for record, age_s in events:
            task_id, event = record.event.task_id, record.event
            names = [keys.info(task_id), keys.progress(task_id), keys.projected(task_id)]
            names += [keys.tombstone(task_id), keys.result(task_id), keys.chunks(task_id)]
            status = record.status.model_dump_json()
            state, ended = str(event.state), int(event.state.ended)
            keep, keep_progress = _remaining(KEEP_S, age_s), _remaining(KEEP_PROGRESS_S, age_s)
            sequence, created_at = record.metadata.task_sequence, record.metadata.created_at
            retention = (keep, keep_progress, state, TOMBSTONE_S, ended, sequence, self.stream_created_at)
            cursor = cursor_of(event.task_id, created_at, sequence)
            listed = (cursor, user_of(record), int(created_at.timestamp()) + KEEP_S)
            values = (record.stream_sequence, status, event.progress, *retention, *listed)
            writing.eval(WRITE_IF_NEWER, len(names), *names, *values)
        await _execute(writing)

    async def write_results(self, results: Mapping[str, ProjectedResult]) -> None:
        """Write the results of tasks, by task id, except for tasks that were cancelled or deleted.

        Raises:
            TransientError: Redis is unavailable.
        """
        writing = self._redis.pipeline(transaction=False)
        for task_id, ended in results.items():
            names = [keys.result(task_id), keys.tombstone(task_id)]
            values = (ended.result, _remaining(KEEP_S, ended.age_s), ended.task_sequence)
            writing.eval(WRITE_UNLESS_TOMBSTONE, len(names), *names, *values)
        await _execute(writing)

    async def is_empty(self) -> bool:
        """Return whether Redis lacks the key that `mark` sets: it is new, has lost its data, or the key has expired.

        Raises:
            TransientError: Redis is unavailable.
        """
        with explained_errors():
            return not await self._redis.exists(keys.MARK)

    async def mark(self) -> None:
        """Set the key that tells `is_empty` that Redis has the data that was copied from the streams.

        Raises:
            TransientError: Redis is unavailable.
        """
        with explained_errors():
            await self._redis.set(keys.MARK, "1", ex=KEEP_MARK_S)

    async def delete(self, last: Record) -> None:
        """Delete the keys of a task from Redis, and prevent the events up to `last` from being written there again.

        `last`: the last record of the task's log. Events that are appended later are written.

        Raises:
            TransientError: Redis is unavailable.
        """
        task_id = last.event.task_id
        await self.delete_result(last)
        with explained_errors():
            await self._delete(
                keys=[keys.info(task_id), keys.progress(task_id), keys.projected(task_id)],
                args=[last.stream_sequence, self.stream_created_at, TOMBSTONE_S],
            )

    async def delete_result(self, last: Record) -> None:
        """Delete the result and the diarized chunks of a task from Redis; for TOMBSTONE_S, writes of them are ignored.

        `last`: the last record of the task's log.

        Raises:
            TransientError: Redis is unavailable.
        """
        task_id, task_sequence = last.event.task_id, last.metadata.task_sequence
        with explained_errors():
            await self._redis.set(keys.tombstone(task_id), str(task_sequence), ex=TOMBSTONE_S)
            await self._redis.delete(keys.result(task_id), keys.chunks(task_id))

    async def reachable(self) -> bool:
        """Return whether Redis replies within PROJECTION_TIMEOUT_S and lets the service write."""
        try:
            async with asyncio.timeout(PROJECTION_TIMEOUT_S):
                await self._redis.set(keys.NEVER_WRITTEN, "", xx=True)  # refused by a full Redis, as other writes are
                return True
        except (RedisError, OSError, TimeoutError):
            return False

    async def memory(self) -> tuple[int, int]:
        """Return how many bytes of memory Redis occupies, and how many it may occupy (0: no limit).

        Raises:
            TransientError: Redis is unavailable, or refuses the request.
        """
        with explained_errors():
            memory = await self._redis.info("memory")
        return int(memory["used_memory"]), int(memory.get("maxmemory", 0))

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()
