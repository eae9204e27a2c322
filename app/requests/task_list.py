"""Handles `tasks.list`: reads a page of tasks from the task lists in Redis."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.task_list import CURSOR_DIGITS, ListedTask, ListRequest, TaskPage, listed
from redis.asyncio import Redis

from app.requests.deadline import answering
from app.storage.jetstream.records import UnreadableError, parse_stored
from app.storage.redis import keys

BESIDE_TASKS_BYTES: Final = 4096  # room in a reply for everything but the tasks

READ_PAGE: Final = f"""
local cursors, statuses = {{}}, {{}}
for _, list in ipairs(KEYS) do
  for _, cursor in ipairs(redis.call('ZRANGE', list, ARGV[1], '-', 'BYLEX', 'REV', 'LIMIT', 0, ARGV[2])) do
    cursors[#cursors + 1] = cursor
  end
end
table.sort(cursors, function(a, b) return a > b end)
for number = ARGV[2] + 1, #cursors do cursors[number] = nil end
for number, cursor in ipairs(cursors) do
  local task_id = string.sub(cursor, {CURSOR_DIGITS + 2})
  statuses[number] = redis.call('GET', string.format('{keys.info("%s")}', task_id))
end
return {{cursors, statuses}}
"""


class TaskList:
    """Reads pages of the task lists in Redis, which has one list for each user and state."""

    def __init__(self, redis: Redis, *, max_payload: int) -> None:
        """Create a reader of task lists; `max_payload`: the maximum size of a reply in bytes."""
        self._max_bytes = max_payload - BESIDE_TASKS_BYTES
        self._read_page = redis.register_script(READ_PAGE)

    async def page(self, request: ListRequest) -> TaskPage:
        """Return a page of the tasks with the user and the state that `request` names, the newest first.

        The page has at most `request.limit` tasks, and fewer if more do not fit into a reply. It begins after the task
        at the cursor `request.before`.

        Raises:
            RequestError: Redis is unavailable.
        """
        user = keys.ANYBODY if request.user_id is None else keys.user(request.user_id)
        lists = [keys.task_list(user, state) for state in ([request.state] if request.state else State)]
        start = "+" if request.before is None else f"({request.before}"
        async with answering("Redis is unavailable, and only Redis has the list of tasks: try again in a moment."):
            cursors, statuses = await self._read_page(keys=lists, args=[start, request.limit + 1])
        return self._fitting([cursor.decode() for cursor in cursors], statuses, request.limit)

    def _fitting(self, cursors: Sequence[str], statuses: Sequence[bytes | None], limit: int) -> TaskPage:
        """Return a page with the first `limit` tasks, or with as many of them as fit into a reply.

        `cursors`, `statuses`: for each task, its place in the list, and its status as JSON (None: it has expired). A
        task is omitted if its status has expired, or if only a later version of the service can read it.
        """
        tasks: list[ListedTask] = []
        last, room = None, self._max_bytes
        for cursor, status in zip(cursors[:limit], statuses, strict=False):
            if status is not None:  # it has not expired
                room -= len(status)  # the status has all fields of the listed task
                if room < 0 and tasks:
                    return TaskPage(tasks=tasks, more_before=last)
                with suppress(UnreadableError):  # which has been logged
                    tasks.append(listed(parse_stored(TaskStatus, status, "task:info")))
            last = cursor
        return TaskPage(tasks=tasks, more_before=last if len(cursors) > limit else None)
