"""The storage use and limits of JetStream: only the service may read them, and reports them as metrics."""

import nats
import pytest
from natscribe.client import Client

from app.jetstream.usage import read_usage
from app.main import Worker
from app.settings import Settings
from tests.access.servers import RECORDING, GuardedNats, connected, login
from tests.constants import Constants
from tests.integration.telemetry.test_metrics import sample
from tests.servers import Servers


async def test_metrics_say_how_full_jetstream_is_and_of_what(settings: Settings, worker: Worker) -> None:
    # Given a task that is done, and its recording in the bucket
    async with Client(login(settings, "publisher")) as client:
        await client.wait_for_result(await client.create_transcription_task(RECORDING))
    # When the worker measures
    await worker.container.maintenance.measure_storage()
    # Then there are the sizes of bucket and streams, and what is allowed
    size = sample(worker, "natscribe_stream_bytes", ("stream", "OBJ_audio"))
    used = sample(worker, "natscribe_jetstream_used_bytes", ("storage", "disk"))
    limit = sample(worker, "natscribe_jetstream_limit_bytes", ("storage", "disk"))
    assert size is not None
    assert used is not None
    assert limit is not None
    assert RECORDING.stat().st_size <= size <= used < limit
    assert sample(worker, "natscribe_stream_bytes", ("stream", "transcription_progress"))
    assert sample(worker, "natscribe_jetstream_used_bytes", ("storage", "memory")) == 0
    assert sample(worker, "natscribe_jetstream_limit_bytes", ("storage", "memory"))


async def test_metrics_say_how_full_redis_is(worker: Worker) -> None:
    # Given Redis with the users of the production stack, when the worker measures
    await worker.container.maintenance.measure_redis()
    # Then there is what Redis occupies, and that it may occupy any amount
    assert (sample(worker, "natscribe_redis_used_bytes") or 0) > 0
    assert sample(worker, "natscribe_redis_limit_bytes") == 0


@pytest.mark.parametrize("user", ["publisher", "admin"])
async def test_others_learn_nothing_of_it(
    guarded: GuardedNats, worker: Worker, user: str, constants: Constants
) -> None:
    constants(FIRST_REPLY_S=0.2)
    async with connected(guarded, user) as connection:
        assert await read_usage(connection) == []
    assert len(guarded.refused()) == 1


async def test_a_server_without_accounts_says_nothing(servers: Servers) -> None:
    connection = await nats.connect(servers.nats_url)
    assert await read_usage(connection) == []
    await connection.close()
