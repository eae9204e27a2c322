"""The report of a worker: many concurrent requests cost no more than one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest.mock import AsyncMock, MagicMock

import pytest

from app.requests.worker_report import WorkerReport
from app.storage.recordings.recording import Recording, RecordingStore
from tests.constants import Constants

OTHERS: Any = {"offered": set, "idle": lambda: True}


class SilentRecordings:
    """A store that never replies, as a folder on an unavailable server."""

    checks = cancelled = 0

    @asynccontextmanager
    async def fetch(self, _: str) -> AsyncIterator[Recording]:
        self.checks += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        yield cast("Recording", None)


async def test_concurrent_requests_share_one_check_of_the_store(constants: Constants) -> None:
    # Given a store that does not reply
    constants(HEALTH_WITHIN_S=0.05, SHARED_FOR_S=0.0)
    store, projection = SilentRecordings(), AsyncMock(**{"reachable.return_value": True})
    parts: Any = {
        "problems": list,
        "model": lambda: None,
        "offered": set,
        "projection": projection,
        "idle": lambda: True,
    }
    report = WorkerReport("w1", "file:///a", recordings=cast("RecordingStore", store), **parts)
    # When many requests come at once, and again
    infos = [await report.read(), *await asyncio.gather(*(report.read() for _ in range(20)))]
    # Then all replies report it after one check: a thread that waits for a folder cannot be cancelled
    assert {(info.audio_store_answers, info.redis_answers) for info in infos} == {(False, True)}
    assert (store.checks, store.cancelled) == (1, 0)
    # And a worker that stops cancels the check
    await report.close()
    assert (store.checks, store.cancelled) == (1, 1)


@pytest.mark.parametrize(("shared_for_s", "checks"), [(60.0, 1), (0.0, 2)])
async def test_a_reply_is_shared_for_a_while(constants: Constants, shared_for_s: float, checks: int) -> None:
    constants(SHARED_FOR_S=shared_for_s)
    parts: Any = {
        "problems": list,
        "model": lambda: None,
        "offered": set,
        "recordings": MagicMock(),
        "idle": lambda: True,
    }
    report = WorkerReport("w1", "file:///a", projection=(projection := AsyncMock()), **parts)
    for _ in range(2):
        await report.read()
    assert projection.reachable.call_count == checks
