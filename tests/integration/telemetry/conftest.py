"""What the service logs, as a file gets it."""

import io
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from app.runtime.telemetry import logs


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that is logged, at the most talkative level."""
    written, root = io.StringIO(), logging.getLogger()
    handlers, level, configured = list(root.handlers), root.level, structlog.get_config()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("debug")
    structlog.configure(**configured)
    yield written
    root.handlers, root.level = handlers, level
