"""A worker that is busy, so that other tasks wait."""

import pytest
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher


@pytest.fixture
async def busy(publisher: Publisher, worker: Worker, engine: FakeEngine) -> Worker:
    """A worker that runs the task `busy` until the engine may continue."""
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "busy", priority=Priority.HIGH)
    return worker
