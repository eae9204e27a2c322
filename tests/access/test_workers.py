"""Every worker answers who asks all of them, in each account."""

import pytest
from natscribe.client import Client, NotAllowedError

from app.settings import Settings
from tests.access.servers import CLIENTS, GuardedNats, GuardedValkey, login
from tests.fakes.engine import FakeEngine
from tests.workers import working


async def test_each_worker_answers_each_kind_of_client(guarded: GuardedNats, valkey: GuardedValkey) -> None:
    # Given two workers, whose Redis dies
    chosen = Settings(_env_file=None, nats_url=guarded.url, redis_url=valkey.url_of("service"))
    settings = login(chosen, "service")
    async with working(settings, FakeEngine()) as one, working(settings, FakeEngine()) as other:
        names = {service.container.worker_name for service in (one, other)}
        await valkey.kill()
        for user in CLIENTS:
            # When a client asks
            async with Client(login(settings, user)) as client:
                found = await client.workers()
            # Then both answer, and say what is well and what is not
            assert {worker.worker for worker in found} == names, user
            assert {worker.redis_answers for worker in found} == {False}
            assert {worker.audio_store_answers for worker in found} == {True}
        # And nobody else learns of them
        async with Client(login(settings, "monitoring")) as client:
            with pytest.raises(NotAllowedError):
                await client.workers()
    assert [line for line in guarded.refused() if "workers.info" not in line] == []
