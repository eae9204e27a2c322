"""Streams on three nodes that a client strips in the middle of tasks: no task is lost."""

from functools import partial

import pytest

from app.settings import Settings
from tests.cluster.conftest import Publisher, SteadyEngine, workers
from tests.declarers import SUBJECTS, stripped
from tests.integration.stream_guard.conftest import is_healthy
from tests.waiting import eventually

TASKS = 20
NOTICED_WITHIN_S = 2.0

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("recovery"),
    pytest.mark.filterwarnings("ignore:The JetStream Push consumer:RuntimeWarning"),
]


async def test_tasks_outlive_streams_that_are_stripped(settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(pace=0.2)):
        # Given twenty tasks
        await publisher.upload()
        await publisher.publish_all(TASKS)
        # When a client strips all streams, again and again
        for number in (1, 5, 9):
            await eventually(partial(publisher.started, f"task-{number}"))
            for stream in SUBJECTS:
                await stripped(publisher.js, stream)
            # Then they are put back in time
            await eventually(lambda: is_healthy(publisher.js, settings), within=NOTICED_WITHIN_S)
        # And each task is done, and has one result
        ended = await publisher.ended()
    assert set(ended.results) == set(publisher.acknowledged)
    assert set(ended.results.values()) == {1}
