"""Erases live audio without a task: a client may continue to publish frames after its task was erased."""

import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import structlog
from nats.aio.client import Client
from natscribe.jetstream.stream_pages import page
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import TASK_ID_PATTERN

from app.storage.jetstream.records import UnreadableError
from app.storage.jetstream.server_time import server_time
from app.tasks.task_log.log import TaskLog

WITHOUT_TASK_S = 300.0  # how long after its first frame a task may be published
LOGS_AT_ONCE = 200

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LateFrames:
    """Finds and erases late frames: live audio that still has no task WITHOUT_TASK_S seconds after its first frame."""

    nats: Client
    names: StreamNames
    task_log: TaskLog
    find: Callable[[str], Awaitable[Collection[object]]]  # returns the messages in the queues with a task id
    erase_frames: Callable[[str], Awaitable[None]]  # erases the audio of a live task
    confirm: Callable[[], Awaitable[None]]  # raises an error unless this worker holds the lease

    async def erase(self) -> None:
        """Erase all live audio that has no task and whose first frame is at least WITHOUT_TASK_S seconds old.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        stream = await self.nats.jetstream().stream_info(self.names.live, subjects_filter=subjects.live_audio("*"))
        names = [subject.rpartition(".")[2] for subject in stream.state.subjects or ()]
        # Other names are no task ids, and their audio stays for LIVE_TTL: `*` would mean the audio of all tasks.
        task_ids = [name for name in names if re.fullmatch(TASK_ID_PATTERN, name)]
        now = await server_time(self.nats, self.names.live)
        for start in range(0, len(task_ids), LOGS_AT_ONCE):
            batch = task_ids[start : start + LOGS_AT_ONCE]
            logged = await self.task_log.last_of(batch)
            for task_id in set(batch) - logged.keys():
                if await self._is_late(task_id, now) and not await self._has_task(task_id):
                    await self.confirm()
                    await self.erase_frames(task_id)
                    log.info("late_frames_erased", task_id=task_id)

    async def _is_late(self, task_id: str, now: datetime) -> bool:
        oldest = await page(self.nats, self.names.live, subjects.live_audio(task_id), start=1, count=1)
        return any((now - frame.time).total_seconds() >= WITHOUT_TASK_S for frame in oldest if frame.time)

    async def _has_task(self, task_id: str) -> bool:
        try:
            return await self.task_log.last(task_id) is not None or bool(await self.find(task_id))
        except UnreadableError:  # another version of the service has appended to its log
            return True
