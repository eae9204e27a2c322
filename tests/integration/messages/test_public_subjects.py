"""A subscriber of the public subjects with core NATS receives each message that the streams store."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually
from tests.witness import Witness, witness

DIED = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")


@pytest.fixture
async def subscriber(settings: Settings, start_worker: StartWorker) -> AsyncIterator[Witness]:
    async with witness(settings.nats_url) as listening:
        yield listening


async def test_of_duplicates_it_sees_one_task(
    subscriber: Witness, publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given two workers
    async with start_worker(FakeEngine()), start_worker(FakeEngine()):
        # When a task is published 120 times at once
        await asyncio.gather(*(publisher.publish("t1") for _ in range(120)))
        await publisher.until("t1", State.COMPLETED)
        await eventually(lambda: queue_is_empty(publisher.js))
        # Then a subscriber has seen what is stored: one task, with one end
        await eventually(subscriber.agrees)
        received = await subscriber.seen()
        assert len(received["transcription_results"]) == 1
        assert sum(b'"completed"' in body for _, _, body in received["transcription_progress"]) == 1


async def test_it_sees_each_dead_letter(subscriber: Witness, publisher: Publisher, start_worker: StartWorker) -> None:
    # Given a worker with an engine that can do nothing with a recording
    engine = FakeEngine()
    engine.fail_with = [DIED]
    async with start_worker(engine):
        # When its task fails
        await publisher.publish("t1")
        await publisher.until("t1", State.FAILED)
        await eventually(lambda: queue_is_empty(publisher.js))
        # Then a subscriber has received the dead letter that is stored
        await eventually(subscriber.agrees)
        assert [subject for _, subject, _ in (await subscriber.seen())["transcription_dead_letters"]] == [
            "dead_letters.transcription"
        ]
