"""A mock in the test's own process, on a real server; whatever it says must be in the document."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from natscribe.client import Client
from natscribe.mock import Mock

from app.settings import Settings
from tests.integration.wire import Wire
from tests.terminal import Terminal

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As for all tests, but recordings lie in a bucket."""
    return settings.model_copy(update={"audio_store": "nats://audio"})


@pytest.fixture
async def mock(settings: Settings, wire: Wire) -> AsyncIterator[Mock]:
    async with Mock(settings) as playing:
        yield playing


@pytest.fixture
async def client(mock: Mock, settings: Settings) -> AsyncIterator[Client]:
    async with Client(settings) as connected:
        yield connected


@pytest.fixture
async def meeting(mock: Mock, js: JetStreamContext) -> str:
    """The name of a recording in the bucket."""
    await (await js.object_store("audio")).put("meeting.flac", b"not looked at")
    return "meeting.flac"


@pytest.fixture
def run(mock: Mock, settings: Settings, tmp_path: Path) -> Run:
    """Run a command beside the mock; return its exit code, standard output and standard error."""
    return Terminal(tmp_path, settings, COLUMNS="200").run
