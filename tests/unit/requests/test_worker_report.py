"""The report of a worker: many concurrent requests cost no more than one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode

from app.errors import PermanentError, TransientError
from app.recordings.recording import Recording, RecordingStore
from app.redis_store.projection import RedisProjection
from app.requests.worker_report import WorkerReport
from tests.constants import Constants
from tests.fakes.engine import FakeEngine


class FakeRecordings:
    """A store that does not answer before `answers` is set."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.error: Exception | None = PermanentError(ErrorCode.AUDIO_NOT_FOUND, "not found")
        self.checks = self.cancelled = 0

    @asynccontextmanager
    async def fetch(self, audio_file_id: str, /) -> AsyncIterator[Recording]:
        del audio_file_id
        self.checks += 1
        try:
            await self.answers.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        yield cast("Recording", None)

    async def delete(self, audio_file_id: str, /) -> None:
        raise NotImplementedError


class FakeProjection:
    """Redis, which answers."""

    async def reachable(self) -> bool:
        return True


@pytest.fixture
def recordings() -> FakeRecordings:
    return FakeRecordings()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def report(recordings: RecordingStore, engine: FakeEngine, constants: Constants) -> AsyncIterator[WorkerReport]:
    constants(HEALTH_WITHIN_S=0.05)
    projection = cast("RedisProjection", FakeProjection())
    report = WorkerReport(
        "w1",
        "file:///a",
        problems=list,
        engine=engine,
        recordings=recordings,
        projection=projection,
        idle=lambda: True,
    )
    yield report
    await report.close()


async def test_concurrent_requests_share_one_check_of_the_store(
    report: WorkerReport, recordings: FakeRecordings
) -> None:
    # Given a store that does not answer, as a folder on an unavailable server
    # When many requests come at once, and again
    infos = [await report.read(), *await asyncio.gather(*(report.read() for _ in range(20)))]
    # Then all replies say so after one check: a thread that waits for a folder cannot be cancelled
    assert {(info.audio_store_answers, info.redis_answers) for info in infos} == {(False, True)}
    assert (recordings.checks, recordings.cancelled) == (1, 0)
    # When the store answers after all, then the next reply says so
    recordings.answers.set()
    assert (await report.read()).audio_store_answers
    # And there is no other check for a few seconds
    assert (await report.read()).audio_store_answers
    assert recordings.checks == 1


async def test_the_outcome_of_a_check_expires(
    report: WorkerReport, recordings: FakeRecordings, constants: Constants
) -> None:
    # Given a check of some time ago
    constants(SHARED_FOR_S=0.0)
    recordings.answers.set()
    assert (await report.read()).audio_store_answers
    # When the store becomes unavailable, then the next reply says so
    recordings.error = TransientError(ErrorCode.INTERNAL, "away")
    assert not (await report.read()).audio_store_answers


async def test_a_stopping_worker_cancels_the_check(report: WorkerReport, recordings: FakeRecordings) -> None:
    await report.read()
    await report.close()
    assert (recordings.checks, recordings.cancelled) == (1, 1)


async def test_a_worker_reports_a_missing_model(report: WorkerReport, engine: FakeEngine) -> None:
    engine.loaded = None
    info = await report.read()
    assert (info.model, info.engine) == (None, "")
