"""Every worker replies to a request to all workers, in each account."""

import asyncio

import pytest
from natscribe.client import Client, NotAllowedError
from natscribe.schemas.workers import WorkerInfo

from app.settings import Settings
from tests.access.servers import CLIENTS, GuardedNats, GuardedValkey, login
from tests.fakes.engine import FakeEngine
from tests.workers import working


async def asked_by(settings: Settings) -> list[WorkerInfo]:
    async with Client(settings) as client:
        return await client.workers()


async def test_each_worker_answers_each_kind_of_client(
    guarded: GuardedNats, valkey: GuardedValkey, settings: Settings
) -> None:
    # Given two workers, whose Redis dies
    async with working(settings, FakeEngine()) as one, working(settings, FakeEngine()) as other:
        names = {service.container.worker_name for service in (one, other)}
        await valkey.kill()
        # When each kind of client sends the request
        answers = await asyncio.gather(*(asked_by(login(settings, user)) for user in CLIENTS))
        for user, found in zip(CLIENTS, answers, strict=True):
            # Then both reply with their state
            assert {worker.worker for worker in found} == names, user
            assert {worker.redis_answers for worker in found} == {False}
            assert {worker.audio_store_answers for worker in found} == {True}
        # And no other user receives the replies
        async with Client(login(settings, "monitoring")) as client:
            with pytest.raises(NotAllowedError):
                await client.workers()
    assert [line for line in guarded.refused() if "workers.info" not in line] == []
