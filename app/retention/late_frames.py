"""Erases frames that a client publishes although their task is erased: it may not know, and sends on."""

from collections.abc import Awaitable, Callable, Collection

import structlog
from nats.aio.client import Client
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames

from app.task_log.log import TaskLog

LOGS_AT_ONCE = 200

log = structlog.get_logger()


class LateFrames:
    """Finds sound without a task; what has none at two looks in a row is erased, because a task may be on its way."""

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
        self._without_task: set[str] = set()  # at the last look

    async def erase(self) -> None:
        """Look once, and erase what has no task since the last look.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        before, self._without_task = self._without_task, set()
        stream = await self._js.stream_info(self._stream, subjects_filter=subjects.ALL_LIVE_AUDIO)
        task_ids = [subject.rpartition(".")[2] for subject in stream.state.subjects or ()]
        for start in range(0, len(task_ids), LOGS_AT_ONCE):
            some = task_ids[start : start + LOGS_AT_ONCE]
            known = await self._log.last_of(some)
            for task_id in set(some) - known.keys():
                if await self._has_task(task_id):
                    continue
                if task_id in before:
                    await self._erase_frames(task_id)
                    log.info("late_frames_erased", task_id=task_id)
                else:
                    self._without_task.add(task_id)

    async def _has_task(self, task_id: str) -> bool:
        return await self._log.last(task_id) is not None or bool(await self._find(task_id))
