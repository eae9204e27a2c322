"""Periodic work: what each worker does, and what only the worker that holds the lease does for the whole fleet."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Final

import structlog
from nats.aio.client import Client

from app.engines.engine import Engine
from app.fleet import memory
from app.fleet.stream_guard import provisioning
from app.fleet.stream_guard.guard import StreamGuard
from app.runtime.cancellation import cancel_all, despite_cancellation
from app.runtime.supervision import run_forever
from app.runtime.telemetry.metrics import Meter
from app.settings import Settings
from app.storage.jetstream.lease import Lease, QueueReport
from app.storage.jetstream.server_time import server_time
from app.storage.jetstream.usage import read_usage
from app.tasks.projection.projection import RedisProjection
from app.tasks.queue.queue_reader import QueueReader, TaskQueue
from app.tasks.queue.scheduler import Scheduler
from app.tasks.queue.user_loads import UserLoads

CHECK_EVERY_S = 5.0
MEASURE_EVERY_S = 15.0
RETRY_SCHEDULER_AFTER_S = 0.5
EXPIRE_EVERY_S = 3600.0
ERASE_LATE_FRAMES_EVERY_S = 60.0
CLEAN_LISTS_EVERY_S = 60.0
MEASURED_MESSAGES: Final = 50  # of a queue; every waiting message counts with the mean duration of these

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Does the periodic work of a worker and, while the worker holds the lease, that of the fleet, i.e. all workers.

    Each worker measures itself. The holder of the lease does what is needed once: it runs the scheduler, guards the
    streams, measures queues and servers, and removes what has expired. The callables are parts of that work.
    """

    nats: Client
    settings: Settings
    lease: Lease
    stream_guard: StreamGuard
    scheduler: Scheduler
    queues: QueueReader
    projection: RedisProjection
    engine: Engine
    meter: Meter
    clean_lists: Callable[[], Awaitable[None]]  # removes expired tasks from the task lists
    expire: Callable[[], Awaitable[None]]  # fails tasks that have waited too long
    erase_late_frames: Callable[[], Awaitable[None]]  # erases live audio whose task is gone
    oldest_due: Callable[[], Awaitable[datetime | None]]  # returns when the oldest unsettled reminder became due
    user_loads: UserLoads = field(default_factory=UserLoads)

    async def run(self) -> None:
        """Do the periodic work that each worker does, until cancelled."""
        await run_forever("worker_metrics", self._measure_worker, every_s=CHECK_EVERY_S)

    async def run_for_fleet(self) -> None:
        """Wait for the lease, and do the periodic work for all workers while this worker holds it, until cancelled."""
        await self.lease.run(self._do_duties, check=self.stream_guard.check)

    async def _do_duties(self) -> None:
        duties = (
            self.stream_guard.run(),
            run_forever("scheduler", self.scheduler.run, every_s=0, retry_after_s=RETRY_SCHEDULER_AFTER_S),
            run_forever("projection_restart", self.restart_projection, every_s=CHECK_EVERY_S),
            run_forever("queue_metrics", self.measure_queues, every_s=MEASURE_EVERY_S),
            run_forever("user_loads", self.measure_users, every_s=CHECK_EVERY_S),
            run_forever("storage_metrics", self.measure_storage, every_s=MEASURE_EVERY_S),
            run_forever("redis_metrics", self.measure_redis, every_s=MEASURE_EVERY_S),
            run_forever("task_list_cleaning", self.clean_lists, every_s=CLEAN_LISTS_EVERY_S),
            run_forever("expiry", self.expire, every_s=EXPIRE_EVERY_S),
            run_forever("late_frames", self.erase_late_frames, every_s=ERASE_LATE_FRAMES_EVERY_S),
        )
        working = [asyncio.create_task(duty) for duty in duties]
        try:
            await asyncio.gather(*working)
        finally:  # an `asyncio.TaskGroup` would cancel each task only once: see `cancel_all`
            await despite_cancellation(cancel_all(working))
            self.meter.fleet.forget()

    async def restart_projection(self) -> None:
        """Copy all task states and results to Redis again if Redis is new or has lost its data."""
        if await self.projection.is_empty():
            log.warning("projection_restarted")
            js, confirm = self.nats.jetstream(), self.lease.confirm
            await provisioning.recreate_projection_consumers(js, self.settings, confirm=confirm)
            await self.projection.mark()

    async def measure_queues(self) -> None:
        """Set the metrics of the task queues, the dead letters, and the reminders: scheduled messages to erase data."""
        names = self.settings.stream_names
        queues, now = await self.queues.read(sample=MEASURED_MESSAGES), await server_time(self.nats, names.tasks)
        for queue in queues.by_key.values():
            oldest = (now - queue.oldest).total_seconds() if queue.oldest else 0.0
            self.meter.waiting.labels(queue.subject).set(queue.waiting)
            self.meter.scheduled.labels(queue.subject).set(queue.scheduled)
            self.meter.oldest_waiting.labels(queue.subject).set(oldest)
            self.meter.backlog.labels(queue.subject).set(_audio_seconds(queue))
            self.meter.messages.labels(queue.subject).set(queues.messages.get(queue.subject, 0))
            self.meter.message_limit.labels(queue.subject).set(queues.limit)
        dead_letters = await self.nats.jetstream().stream_info(names.dead_letters)
        self.meter.stored_dead_letters.set(dead_letters.state.messages)
        due = await self.oldest_due()
        self.meter.reminders.set((await self.nats.jetstream().stream_info(names.retention)).state.messages)
        self.meter.overdue.set((now - due).total_seconds() if due else 0.0)

    async def measure_users(self) -> None:
        """Set the metrics of users, and update the report of the lease holder about users and scheduled tasks."""
        report = self.user_loads.measure(self.scheduler.queue, monotonic())
        self.lease.queues = QueueReport(users=report.users, scheduled=self.scheduler.scheduled.counts())
        self.meter.users_waiting.set(report.users_waiting)
        self.meter.fairness.set(report.fairness)
        self.meter.longest_user_wait.set(report.longest_wait_s)

    async def measure_storage(self) -> None:
        """Set the metrics of JetStream's disk and memory on each server, and of the sizes of streams and buckets."""
        servers = {
            usage.server: {
                "used": {"disk": usage.disk, "memory": usage.memory},
                "limit": {"disk": usage.max_disk, "memory": usage.max_memory},
                "size": usage.streams,
            }
            for usage in await read_usage(self.nats)
        }
        self.meter.fleet.set_storage(servers)

    async def measure_redis(self) -> None:
        """Set the metrics of the memory that Redis uses and may use."""
        used, limit = await self.projection.memory()
        self.meter.redis_used.set(used)
        self.meter.redis_limit.set(limit)

    async def _measure_worker(self) -> None:
        self.meter.redis_up.set(await self.projection.reachable())
        self.meter.nats_up.set(self.nats.is_connected)
        self.meter.model_loaded.set(self.engine.loaded is not None)
        self.meter.attempt_limit.set(self.settings.task_timeout)
        self.meter.memory.labels("worker").set(memory.resident())
        self.meter.memory.labels("engine").set(memory.resident_children())
        self.meter.memory_limit.set(memory.limit())


def _audio_seconds(queue: TaskQueue) -> float:
    """Estimate the total duration of the recordings that wait in a queue, in seconds, from its `sample`."""
    durations = [message.audio_seconds or 0.0 for message in queue.sample]
    return sum(durations) * queue.waiting / max(len(durations), 1)
