"""The task lists: sorted sets in Redis, which the projection keeps, so that clients can ask for the newest tasks.

For each state there is a list of all tasks and a list of the tasks of each user. A list holds a task's place: when the
task was stored, and its id. Places do not expire as the task's keys do, so `keys.LISTED` has all listed tasks by the
time at which their keys may expire, and the service removes those that have expired. The lists themselves outlive the
keys of their last task by a week, so that none is left if the service never runs again.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import READ_WITHIN_S, TaskStatus
from natscribe.schemas.task_list import PLACE_DIGITS, ListedTask, ListRequest, TaskPage, listed
from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import RequestError, TransientError
from app.redis_store import keys
from app.task_log.record import Record

BESIDE_TASKS_BYTES: Final = 4096  # room in a reply for everything but the tasks
LISTS_KEPT_S: Final = 14 * 24 * 3600  # since the last event of any task in the list, whose keys live seven days
EXPIRED_AT_ONCE: Final = 500  # places that one script removes: Redis does nothing else in the meantime

# Lua functions for the scripts that change the lists. They compute the names of lists, because only Redis knows which
# lists have a task.
FUNCTIONS: Final = f"""
local function list_of(user, state) return string.format('{keys.task_list("%s", "%s")}', user, state) end
local function unlist(place, user, state)
  redis.call('ZREM', list_of('{keys.ANYBODY}', state), place)
  redis.call('ZREM', list_of(user, state), place)
  redis.call('ZREM', '{keys.LISTED}', place .. ' ' .. user)
end
local function enlist(place, user, state, expires_at)
  redis.call('ZADD', list_of('{keys.ANYBODY}', state), 0, place)
  redis.call('ZADD', list_of(user, state), 0, place)
  redis.call('ZADD', '{keys.LISTED}', expires_at, place .. ' ' .. user)
end
local function keep_lists(user, state)
  for _, list in ipairs({{list_of('{keys.ANYBODY}', state), list_of(user, state), '{keys.LISTED}'}}) do
    redis.call('EXPIRE', list, {LISTS_KEPT_S})
  end
end
"""
READ_PAGE: Final = f"""
local places, infos = {{}}, {{}}
for _, list in ipairs(KEYS) do
  for _, place in ipairs(redis.call('ZRANGE', list, ARGV[1], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[2])) do
    places[#places + 1] = place
  end
end
table.sort(places, function(one, other) return one > other end)
for number = ARGV[2] + 1, #places do places[number] = nil end
for number, place in ipairs(places) do
  local task_id = string.sub(place, {PLACE_DIGITS + 2})
  infos[number] = redis.call('GET', string.format('{keys.info("%s")}', task_id))
end
return {{places, infos}}
"""
REMOVE_EXPIRED: Final = (
    FUNCTIONS
    + f"""
local now = redis.call('TIME')[1]
local found = redis.call('ZRANGE', '{keys.LISTED}', '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, entry in ipairs(found) do
  local place, user = string.match(entry, '^(%S+) (%S+)$')
  local projected = string.format('{keys.projected("%s")}', string.sub(place, {PLACE_DIGITS + 2}))
  if string.find(redis.call('GET', projected) or '', place, 1, true) then
    redis.call('ZADD', '{keys.LISTED}', now + math.max(redis.call('TTL', projected), 1), entry)
  else
    for number = 2, #ARGV do unlist(place, user, ARGV[number]) end
  end
end
return #found
"""
)


def user_of(record: Record) -> str:
    """Return the user in the name of the task's lists."""
    task = record.metadata.task
    return keys.NO_USER if task is None else keys.user(task.user_id)


class TaskList:
    """Reads the task lists, and removes expired tasks from them."""

    def __init__(self, redis: Redis, *, max_payload: int) -> None:
        """`max_payload` is how many bytes a reply may have."""
        self._max_bytes = max_payload - BESIDE_TASKS_BYTES
        self._read_page = redis.register_script(READ_PAGE)
        self._remove_expired = redis.register_script(REMOVE_EXPIRED)

    async def page(self, request: ListRequest) -> TaskPage:
        """Return the newest tasks, or those older than a place in the list; fewer if a reply has no room for more.

        Raises:
            RequestError: Redis is away.
        """
        user = keys.ANYBODY if request.user_id is None else keys.user(request.user_id)
        lists = [keys.task_list(user, state) for state in ([request.state] if request.state else State)]
        start = "+" if request.before is None else f"({request.before}"
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                places, infos = await self._read_page(keys=lists, args=[start, request.limit + 1])
        except (RedisError, OSError, TimeoutError) as error:
            text = "Redis is away, and only Redis has the list of tasks: ask again in a moment."
            raise RequestError(ErrorCode.INTERNAL, text) from error
        return self._fitting([place.decode() for place in places], infos, request.limit)

    async def remove_expired(self) -> None:
        """Remove the tasks whose keys have expired.

        Raises:
            TransientError: Redis is away.
        """
        try:
            found = EXPIRED_AT_ONCE
            while found == EXPIRED_AT_ONCE:
                found = await self._remove_expired(args=[EXPIRED_AT_ONCE, *State])
        except (RedisError, OSError) as error:
            text = "Redis is away: expired tasks are removed from its lists when Redis is back."
            raise TransientError(ErrorCode.INTERNAL, text) from error

    def _fitting(self, places: Sequence[str], infos: Sequence[bytes | None], limit: int) -> TaskPage:
        """Make the page of the first `limit` tasks, or of as many of them as fit into a reply."""
        tasks: list[ListedTask] = []
        last, room = None, self._max_bytes
        for place, info in zip(places[:limit], infos, strict=False):
            for task in _read(info):
                room -= len(info or b"")  # the status has all fields of the listed task
                if room < 0 and tasks:
                    return TaskPage(tasks=tasks, more_before=last)
                tasks.append(task)
            last = place
        return TaskPage(tasks=tasks, more_before=last if len(places) > limit else None)


def _read(info: bytes | None) -> Iterator[ListedTask]:
    """Yield the task of a status; nothing if it has expired or if another version of the service has written it."""
    with suppress(ValidationError):
        if info is not None:
            yield listed(TaskStatus.model_validate_json(info))
