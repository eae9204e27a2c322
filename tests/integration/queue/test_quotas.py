"""Quotas: operators give single users other limits and weights, in a bucket that the service follows."""

import asyncio

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from app.cancellation import cancel_all
from app.jetstream.key_value import QUOTAS_BUCKET, key_value_stream
from app.jetstream.streams import key_value_configs
from app.queue.fair_queue import Quota
from app.queue.quotas import Quotas
from app.queue.scheduler import Scheduler
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import StartWorker
from tests.waiting import eventually

DEFAULT = Quota(max_running=5, max_waiting=7)
ANNA = "ImFubmEi"  # the key of "anna"


async def test_quotas_follow_the_bucket(nc: Client, js: JetStreamContext, settings: Settings) -> None:
    # Given the bucket of quotas
    bucket = key_value_stream(QUOTAS_BUCKET)
    await js.add_stream(next(config for config in key_value_configs(settings) if config.name == bucket))
    entries = await js.key_value(QUOTAS_BUCKET)
    quotas = Quotas(nc, DEFAULT)
    running = asyncio.create_task(quotas.run())
    # When an operator writes and deletes the entry of a user, then the user has that quota at once, and the default
    await entries.put(ANNA, b'{"weight": 2, "max_running": 0}')
    await eventually(lambda: quotas.of("anna") == Quota(2, 0, 7))
    await entries.delete(ANNA)
    await eventually(lambda: quotas.of("anna") == DEFAULT, within=30)  # READ_EVERY_S is longer
    await cancel_all([running])


async def test_quotas_are_read_before_tasks_are_scheduled(
    start_worker: StartWorker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    read, schedule = Quotas.read, Scheduler.run

    async def note_read(self: Quotas) -> None:
        await read(self)
        steps.append("quotas are read")

    async def note_schedule(self: Scheduler) -> None:
        steps.append("tasks are scheduled")
        await schedule(self)

    # Given quotas that nothing but the start of a worker reads
    monkeypatch.setattr(Quotas, "run", lambda _: asyncio.Event().wait())
    monkeypatch.setattr(Quotas, "read", note_read)
    monkeypatch.setattr(Scheduler, "run", note_schedule)
    # When it has started, then it has read them before it schedules tasks
    async with start_worker(engine):
        await eventually(lambda: len(steps) == 2)
    assert steps == ["quotas are read", "tasks are scheduled"]
