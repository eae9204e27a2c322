"""Maintenance beside the running task: restore missing Redis keys, end expired tasks, set metrics."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog
from nats.aio.client import Client

from app.engines.engine import Engine
from app.jetstream import provisioning
from app.jetstream.server_time import server_time
from app.jetstream.usage import read_usage
from app.operations import memory
from app.queue.priorities import QueueReader, TaskQueue
from app.redis_store.projection import RedisProjection
from app.settings import Settings
from app.supervision import run_forever
from app.telemetry.metrics import Meter
from app.telemetry.storage_metrics import Stored

CHECK_EVERY_S = 5.0
MEASURE_EVERY_S = 15.0
EXPIRE_EVERY_S = 3600.0
ERASE_LATE_FRAMES_EVERY_S = 60.0
CLEAN_LISTS_EVERY_S = 60.0
MEASURED_MESSAGES: Final = 50  # of a queue; all waiting messages count with the mean audio of these

log = structlog.get_logger()


class Maintenance:
    """Does the periodic work of a worker, also while the worker runs a task."""

    def __init__(  # noqa: PLR0913 -- it maintains all of these parts
        self,
        nats: Client,
        settings: Settings,
        *,
        queues: QueueReader,
        projection: RedisProjection,
        engine: Engine,
        meter: Meter,
        clean_lists: Callable[[], Awaitable[None]],
        expire: Callable[[], Awaitable[None]],
        erase_late_frames: Callable[[], Awaitable[None]],
        oldest_due: Callable[[], Awaitable[datetime | None]],
    ) -> None:
        """`clean_lists` removes expired tasks from the task lists; `expire` lets tasks fail that have waited too long.

        `erase_late_frames` erases sound whose task is gone.
        `oldest_due` returns when the oldest unsettled reminder became due; None if there is none.
        """
        self._nats = nats
        self._js = nats.jetstream()
        self._settings = settings
        self._queues = queues
        self._projection = projection
        self._engine = engine
        self._meter = meter
        self._clean_lists = clean_lists
        self._expire = expire
        self._erase_late_frames = erase_late_frames
        self._oldest_due = oldest_due

    async def run(self) -> None:
        """Do all periodic work until cancelled."""
        await asyncio.gather(
            run_forever("projection_restart", self.restart_projection, every_s=CHECK_EVERY_S),
            run_forever("queue_metrics", self.measure_queues, every_s=MEASURE_EVERY_S),
            run_forever("storage_metrics", self.measure_storage, every_s=MEASURE_EVERY_S),
            run_forever("redis_metrics", self.measure_redis, every_s=MEASURE_EVERY_S),
            run_forever("worker_metrics", self._measure_worker, every_s=CHECK_EVERY_S),
            run_forever("task_list_cleaning", self._clean_lists, every_s=CLEAN_LISTS_EVERY_S),
            run_forever("expiry", self._expire, every_s=EXPIRE_EVERY_S),
            run_forever("late_frames", self._erase_late_frames, every_s=ERASE_LATE_FRAMES_EVERY_S),
        )

    async def restart_projection(self) -> None:
        """Project everything again if Redis is new or has lost its data."""
        if await self._projection.is_empty():
            log.warning("projection_restarted")
            await provisioning.project_anew(self._js, self._settings)
            await self._projection.mark()

    async def measure_queues(self) -> None:
        """Set the metrics of the task queues, the dead letters and the reminders."""
        names = self._settings.stream_names
        queues, now = await self._queues.read(sample=MEASURED_MESSAGES), await server_time(self._nats, names.tasks)
        for queue in queues.by_key.values():
            oldest = (now - queue.oldest).total_seconds() if queue.oldest else 0.0
            self._meter.waiting.labels(queue.subject).set(queue.waiting)
            self._meter.oldest_waiting.labels(queue.subject).set(oldest)
            self._meter.backlog.labels(queue.subject).set(_audio_seconds(queue))
            self._meter.messages.labels(queue.subject).set(queues.messages.get(queue.subject, 0))
            self._meter.message_limit.labels(queue.subject).set(queues.limit)
        dead_letters = await self._js.stream_info(names.dead_letters)
        self._meter.kept_dead_letters.set(dead_letters.state.messages)
        due = await self._oldest_due()
        self._meter.reminders.set((await self._js.stream_info(names.retention)).state.messages)
        self._meter.overdue.set((now - due).total_seconds() if due else 0.0)

    async def measure_storage(self) -> None:
        """Set the metrics of JetStream's disk and memory, and of the sizes of streams and buckets."""
        for server in await read_usage(self._nats):
            used, limit = server.data, server.data.config
            stored = Stored(
                used={"disk": used.storage, "memory": used.memory},
                limits={"disk": limit.max_storage, "memory": limit.max_memory},
                streams=server.streams,
            )
            self._meter.storage.note(server.server.name, stored)

    async def measure_redis(self) -> None:
        """Set the metrics of Redis' memory."""
        used, limit = await self._projection.memory()
        self._meter.redis_used.set(used)
        self._meter.redis_limit.set(limit)

    async def _measure_worker(self) -> None:
        self._meter.redis_up.set(await self._projection.reachable())
        self._meter.nats_up.set(self._nats.is_connected)
        self._meter.model_loaded.set(self._engine.ready)
        self._meter.attempt_limit.set(self._settings.task_timeout)
        self._meter.memory.labels("worker").set(memory.resident())
        self._meter.memory.labels("engine").set(memory.resident_children())
        self._meter.memory_limit.set(memory.limit())


def _audio_seconds(queue: TaskQueue) -> float:
    known = [message.audio_seconds or 0.0 for message in (*queue.redelivered, *queue.sample)]
    return sum(known) * queue.waiting / max(len(known), 1)
