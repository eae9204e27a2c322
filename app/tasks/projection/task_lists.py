"""The task lists: sorted sets in Redis, from which clients can request the newest tasks of a state or user.

For each state there is a list of all tasks and a list of the tasks of each user. An entry is a task's cursor: when the
task was stored, and its id. Entries do not expire with the keys of their task. So the sorted set `keys.LISTED` has all
listed tasks by the time at which their keys may expire, and the service removes the expired ones. Each list itself
expires a week after the keys of its last task, so that Redis becomes empty even if the service never runs again.
"""

from typing import Final

from natscribe.schemas.progress import State
from natscribe.schemas.task_list import CURSOR_DIGITS
from redis.asyncio import Redis

from app.storage.redis import keys
from app.storage.redis.errors import explained_errors
from app.tasks.task_log.record import Record

LISTS_TTL_S: Final = 14 * 24 * 3600  # since the last event of any task in the list, whose keys live seven days
MAX_EXPIRED_PER_CALL: Final = 500  # cursors that one script removes: Redis executes nothing else in the meantime

# Lua functions for the scripts that change the lists. They compute the names of lists, because only Redis knows which
# lists have a task.
FUNCTIONS: Final = f"""
local function list_of(user, state) return string.format('{keys.task_list("%s", "%s")}', user, state) end
local function unlist(cursor, user, state)
  redis.call('ZREM', list_of('{keys.ANYBODY}', state), cursor)
  redis.call('ZREM', list_of(user, state), cursor)
  redis.call('ZREM', '{keys.LISTED}', cursor .. ' ' .. user)
end
local function enlist(cursor, user, state, expires_at)
  redis.call('ZADD', list_of('{keys.ANYBODY}', state), 0, cursor)
  redis.call('ZADD', list_of(user, state), 0, cursor)
  redis.call('ZADD', '{keys.LISTED}', expires_at, cursor .. ' ' .. user)
end
local function keep_lists(user, state)
  for _, list in ipairs({{list_of('{keys.ANYBODY}', state), list_of(user, state), '{keys.LISTED}'}}) do
    redis.call('EXPIRE', list, {LISTS_TTL_S})
  end
end
"""
REMOVE_EXPIRED: Final = (
    FUNCTIONS
    + f"""
local now = redis.call('TIME')[1]
local entries = redis.call('ZRANGE', '{keys.LISTED}', '-inf', now, 'BYSCORE', 'LIMIT', 0, ARGV[1])
for _, entry in ipairs(entries) do
  local cursor, user = string.match(entry, '^(%S+) (%S+)$')
  local projected = string.format('{keys.projected("%s")}', string.sub(cursor, {CURSOR_DIGITS + 2}))
  if string.find(redis.call('GET', projected) or '', cursor, 1, true) then
    redis.call('ZADD', '{keys.LISTED}', now + math.max(redis.call('TTL', projected), 1), entry)
  else
    for number = 2, #ARGV do unlist(cursor, user, ARGV[number]) end
  end
end
return #entries
"""
)


def user_of(record: Record) -> str:
    """Return the hash that stands for the user of a task in the key of a task list."""
    task = record.metadata.task
    return keys.NO_USER if task is None else keys.user(task.user_id)


async def remove_expired(redis: Redis) -> None:
    """Remove from the task lists all tasks whose keys have expired.

    Raises:
        TransientError: Redis is unavailable.
    """
    remove = redis.register_script(REMOVE_EXPIRED)
    with explained_errors():
        while await remove(args=[MAX_EXPIRED_PER_CALL, *State]) == MAX_EXPIRED_PER_CALL:
            pass  # more may have expired
