"""Answers `tasks.list`, from the task lists in Redis."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import READ_WITHIN_S, TaskStatus
from natscribe.schemas.task_list import CURSOR_DIGITS, ListedTask, ListRequest, TaskPage, listed
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import RequestError
from app.jetstream.records import parse_stored
from app.redis_store import keys

BESIDE_TASKS_BYTES: Final = 4096  # room in a reply for everything but the tasks

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
  local task_id = string.sub(place, {CURSOR_DIGITS + 2})
  infos[number] = redis.call('GET', string.format('{keys.info("%s")}', task_id))
end
return {{places, infos}}
"""


class TaskList:
    """Reads the task lists in Redis, one page for each request."""

    def __init__(self, redis: Redis, *, max_payload: int) -> None:
        """`max_payload` is how many bytes a reply may have."""
        self._max_bytes = max_payload - BESIDE_TASKS_BYTES
        self._read_page = redis.register_script(READ_PAGE)

    async def page(self, request: ListRequest) -> TaskPage:
        """Return the newest `limit` tasks of the requested user and state; with `before`, of those before that task.

        The page has fewer tasks if a reply has no room for more.

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
    """Yield the task of a stored status; yield nothing if the status has expired.

    Raises:
        UnreadableError: Another version of the service has written the status.
    """
    if info is not None:
        yield listed(parse_stored(TaskStatus, info, "task:info"))
