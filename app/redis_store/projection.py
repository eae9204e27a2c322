"""The projection: the log in Redis, for those who would rather read keys."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import TransientError
from app.jetstream.streams import RESULTS_KEPT_S
from app.redis_store import redis_keys
from app.task_log.record import Record
from app.task_log.status import status_of
from schemas.errors import ErrorCode

DAY_S: Final = 24 * 3600
ANSWER_TIMEOUT_S: Final = 2.0
KEEP_S: Final = int(RESULTS_KEPT_S)
FORGOTTEN_FOR_S: Final = 600  # whoever is slow to show has shown by then
KEEP_PROGRESS_S: Final = DAY_S  # seconds after each change
KEEP_MARK_S: Final = 30 * DAY_S  # after which everything is shown once more

# Several workers project one log: only an event newer than the last one shown may be written. Sequences begin again
# with a stream, so when it was made stands before the one that was shown.
# The progress key lives seven days from the start and a day after each change, whichever is longer.
# The result of a task that was cancelled may have been on the way, and is withdrawn.
# When a task has ended, nobody needs its voices.
WRITE_IF_NEWER: Final = """
if ARGV[6] == 'cancelled' then
  redis.call('SET', KEYS[4], ARGV[9], 'EX', ARGV[7])
  redis.call('DEL', KEYS[5])
end
if ARGV[8] == '1' then redis.call('DEL', KEYS[6]) end
local made = ARGV[10] .. ' '
local shown = redis.call('GET', KEYS[3]) or ''
local comparable = string.sub(shown, 1, #made) == made
if comparable and tonumber(ARGV[1]) <= tonumber(string.sub(shown, #made + 1)) then return 0 end
local left = redis.call('TTL', KEYS[2])
redis.call('SET', KEYS[3], made .. ARGV[1], 'EX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
if left < 0 then left = tonumber(ARGV[4]) end
redis.call('SET', KEYS[2], ARGV[3], 'EX', math.max(left, tonumber(ARGV[5])))
return 1
"""

WRITE_UNLESS_WITHDRAWN: Final = """
if tonumber(ARGV[3]) <= tonumber(redis.call('GET', KEYS[2]) or '0') then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""


class Ended(NamedTuple):
    """What came of a task, to be shown."""

    task_sequence: int  # of the task's message: an id may be used again
    result: bytes  # JSON
    created_at: datetime


def _left(keep: int, since: datetime) -> int:
    """How many of `keep` seconds are left, at least one: what is shown once more is kept no longer for it."""
    return max(keep - int((datetime.now(UTC) - since).total_seconds()), 1)


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise TransientError(ErrorCode.INTERNAL, "Redis is away: its keys are caught up when it is back.") from error


class RedisProjection:
    """Writes the three documented keys from the task's events."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.made_at = ""  # when the stream of events was made, once that is known

    async def progressed(self, records: Sequence[Record]) -> None:
        """Show events, each unless a newer one of its task is shown; whichever Redis takes (TransientError)."""
        writing = self._redis.pipeline(transaction=False)
        for record in records:
            task_id, event = record.event.task_id, record.event
            keys = [redis_keys.info(task_id), redis_keys.progress(task_id), redis_keys.shown(task_id)]
            keys += [redis_keys.withdrawn(task_id), redis_keys.result(task_id), redis_keys.voices(task_id)]
            try:
                status = status_of(record).model_dump_json()
            except ValueError:  # not written by a service: it is let go
                continue
            state, ended = str(event.state), int(event.state.ended)
            keep, keep_progress = _left(KEEP_S, event.time), _left(KEEP_PROGRESS_S, event.time)
            values = (
                record.stream_sequence,
                status,
                event.progress,
                keep,
                keep_progress,
                state,
                FORGOTTEN_FOR_S,
                ended,
            )
            writing.eval(WRITE_IF_NEWER, len(keys), *keys, *values, record.metadata.task_sequence, self.made_at)
        with _reached():
            await writing.execute()

    async def ended(self, results: Mapping[str, Ended]) -> None:
        """Show results by task id, each unless its task was cancelled or deleted (TransientError)."""
        writing = self._redis.pipeline(transaction=False)
        for task_id, ended in results.items():
            keys = [redis_keys.result(task_id), redis_keys.withdrawn(task_id)]
            writing.eval(
                WRITE_UNLESS_WITHDRAWN,
                len(keys),
                *keys,
                ended.result,
                _left(KEEP_S, ended.created_at),
                ended.task_sequence,
            )
        with _reached():
            await writing.execute()

    async def is_empty(self) -> bool:
        """Whether Redis holds nothing of the service: it is new, or has lost its data (TransientError)."""
        with _reached():
            return not await self._redis.exists(redis_keys.MARK)

    async def mark(self) -> None:
        """Note that the projection has begun; the note goes when the data are lost (TransientError)."""
        with _reached():
            await self._redis.set(redis_keys.MARK, "1", ex=KEEP_MARK_S)

    async def delete(self, last: Record) -> None:
        """Delete the keys of a task; nothing up to the last record of its log is shown again (TransientError)."""
        task_id = last.event.task_id
        await self.withdraw(last)
        with _reached():
            shown = f"{self.made_at} {last.stream_sequence}"
            await self._redis.set(redis_keys.shown(task_id), shown, ex=FORGOTTEN_FOR_S)
            await self._redis.delete(redis_keys.info(task_id), redis_keys.progress(task_id))

    async def withdraw(self, last: Record) -> None:
        """Delete what was found for a task; what is still on the way is not shown (TransientError)."""
        task_id, task_sequence = last.event.task_id, last.metadata.task_sequence
        with _reached():
            await self._redis.set(redis_keys.withdrawn(task_id), str(task_sequence), ex=FORGOTTEN_FOR_S)
            await self._redis.delete(redis_keys.result(task_id), redis_keys.voices(task_id))

    async def reachable(self) -> bool:
        """Whether Redis answers."""
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return bool(await self._redis.ping())
        except (RedisError, OSError, TimeoutError):
            return False

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
