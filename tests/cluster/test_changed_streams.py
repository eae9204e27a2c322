"""Streams on three nodes that clients declare or change in the middle of tasks: none is lost."""

from functools import partial

import pytest
from nats.js import JetStreamContext
from nats.js.api import StreamConfig
from nats.js.errors import APIError

from app.settings import Settings
from app.stream_guard import provisioning
from tests.cluster.conftest import Publisher, SteadyEngine, workers
from tests.declarers import CONSUMERS, LOGS, SUBJECTS, faststream_consumer, stripped
from tests.waiting import eventually

TASKS = 20
NOTICED_WITHIN_S = 2.0

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("recovery"),
    pytest.mark.filterwarnings("ignore:The JetStream Push consumer:RuntimeWarning"),
]


async def is_healthy(js: JetStreamContext, settings: Settings) -> bool:
    return (await provisioning.inspect_streams(js, settings)).is_healthy


async def test_tasks_outlive_clients_that_declare_their_streams(settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(pace=0.2)):
        # Given twenty tasks
        await publisher.upload()
        for number in range(TASKS):
            await publisher.publish(f"t{number}")
        await eventually(lambda: publisher.started("t1"))
        # When applications of FastStream and nats-py declare all streams
        for stream in LOGS:
            for options in CONSUMERS.values():
                async with faststream_consumer(settings.nats_url, stream, **options) as refused:
                    assert refused is not None
        for stream, subject in SUBJECTS.items():
            for declare in (publisher.js.add_stream, publisher.js.update_stream):
                with pytest.raises(APIError):
                    await declare(StreamConfig(name=stream, subjects=[subject]))
        # Then nothing is changed
        assert await is_healthy(publisher.js, settings)
        ended = await publisher.ended()
    # And each task is done, at its first attempt
    ended.check(publisher.acknowledged)
    assert ended.tried_again == {}


async def test_tasks_outlive_streams_that_are_stripped(settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(pace=0.2)):
        # Given twenty tasks
        await publisher.upload()
        for number in range(TASKS):
            await publisher.publish(f"t{number}")
        # When somebody strips all streams, again and again
        for number in (1, 5, 9):
            await eventually(partial(publisher.started, f"t{number}"))
            for stream in SUBJECTS:
                await stripped(publisher.js, stream)
            # Then they are put back in time
            await eventually(lambda: is_healthy(publisher.js, settings), within=NOTICED_WITHIN_S)
        # And each task is done, and has one result
        ended = await publisher.ended()
    assert set(ended.results) == set(publisher.acknowledged)
    assert set(ended.results.values()) == {1}
