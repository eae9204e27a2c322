"""Erases sound without a task: a client that does not know that its task is erased sends on."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog
from nats.aio.client import Client
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames

from app.task_log.log import TaskLog

WITHOUT_TASK_S = 300.0  # so long a task may come after its sound
LOGS_AT_ONCE = 200

log = structlog.get_logger()


class LateFrames:
    """Finds sound without a task, and erases what has had none for WITHOUT_TASK_S."""

    def __init__(
        self,
        nats: Client,
        names: StreamNames,
        task_log: TaskLog,
        *,
        find: Callable[[str], Awaitable[Collection[object]]],
        erase_frames: Callable[[str], Awaitable[None]],
    ) -> None:
        """`find` returns the messages with a task id that wait in the queues."""
        self._js = nats.jetstream()
        self._stream = names.live
        self._log = task_log
        self._find = find
        self._erase_frames = erase_frames
        self._since: dict[str, float] = {}  # when sound was first seen without a task, in the event loop's time

    async def erase(self) -> None:
        """Look once, and erase what has had no task for too long.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        before, self._since = self._since, {}
        now = asyncio.get_running_loop().time()
        stream = await self._js.stream_info(self._stream, subjects_filter=subjects.ALL_LIVE_AUDIO)
        task_ids = [subject.rpartition(".")[2] for subject in stream.state.subjects or ()]
        for start in range(0, len(task_ids), LOGS_AT_ONCE):
            some = task_ids[start : start + LOGS_AT_ONCE]
            known = await self._log.last_of(some)
            for task_id in set(some) - known.keys():
                if await self._has_task(task_id):
                    continue
                self._since[task_id] = before.get(task_id, now)
                if now - self._since[task_id] >= WITHOUT_TASK_S:
                    await self._erase_frames(task_id)
                    log.info("late_frames_erased", task_id=task_id)

    async def _has_task(self, task_id: str) -> bool:
        return await self._log.last(task_id) is not None or bool(await self._find(task_id))
