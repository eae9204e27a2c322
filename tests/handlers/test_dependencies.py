"""Whatever a handler asks FastStream's context for, the container has, of the type that the handler expects."""

from collections.abc import Awaitable, Callable
from typing import get_type_hints

import pytest
from nats.aio.client import Client

from app.container import Container
from app.settings import Settings
from app.telemetry.tracing import OFF
from handlers import accepted_tasks, windows
from handlers.channels import REQUESTS
from handlers.dependencies import FromContext
from handlers.tasks import HANDLERS
from tests.fakes.engine import FakeEngine

OF_A_MESSAGE = {"delivery", "message"}  # which the task middleware or FastStream puts into the context
ROUTES = (*REQUESTS, *accepted_tasks.ROUTES)
ALL = [*HANDLERS.values(), windows.transcribe_window, *dict.fromkeys(route.call for route in ROUTES)]


@pytest.fixture(scope="module")
def container() -> Container:
    container = Container(Settings(_env_file=None), FakeEngine(), traces=OFF, broken=lambda: None)
    container.connect(Client(), ack_wait=15)
    return container


@pytest.mark.parametrize("handler", ALL, ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_the_container_has_what_a_handler_asks_for(
    container: Container, handler: Callable[..., Awaitable[object]]
) -> None:
    # Given a container whose parts are made, when a handler asks for parts by the names and types of its parameters
    hints = get_type_hints(handler, include_extras=True)
    asked = {
        name: hint.__origin__
        for name, hint in hints.items()
        if any(isinstance(each, FromContext) for each in getattr(hint, "__metadata__", ()))
    }
    parts = {name: kind for name, kind in asked.items() if name not in OF_A_MESSAGE}
    # Then each is in the context
    assert parts
    assert all(isinstance(vars(container)[name], kind) for name, kind in parts.items())
