"""A mock in the test's own process, on a real server; whatever it says must be in the document."""

from collections.abc import AsyncIterator

import pytest
from natscribe.mock import Mock

from app.settings import Settings
from tests.integration.wire import Wire


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As for all tests, but recordings lie in a bucket."""
    return settings.model_copy(update={"audio_store": "nats://audio"})


@pytest.fixture
async def mock(settings: Settings, wire: Wire) -> AsyncIterator[Mock]:
    async with Mock(settings) as playing:
        yield playing
