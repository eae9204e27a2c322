"""The container has each part that a handler needs, with the type of the handler's parameter."""

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

OF_A_MESSAGE = {"attempt", "message"}  # the task middleware or FastStream adds these to the context
ROUTES = (*REQUESTS, *accepted_tasks.ROUTES)
ALL = [*HANDLERS.values(), windows.transcribe_window, *dict.fromkeys(route.call for route in ROUTES)]


@pytest.fixture(scope="module")
def container() -> Container:
    container = Container(Settings(_env_file=None), FakeEngine(), traces=OFF)
    container.join_fleet(nats := Client())
    container.connect(nats, ack_wait=15)
    return container


@pytest.mark.parametrize("handler", ALL, ids=lambda handler: f"{handler.__module__}.{handler.__name__}")
def test_the_container_has_the_parts_that_a_handler_needs(
    container: Container, handler: Callable[..., Awaitable[object]]
) -> None:
    # Given a container, and the parameters of a handler
    hints = get_type_hints(handler, include_extras=True)
    dependencies = {
        name: hint.__origin__
        for name, hint in hints.items()
        if any(isinstance(item, FromContext) for item in getattr(hint, "__metadata__", ()))
    }
    parts = {name: kind for name, kind in dependencies.items() if name not in OF_A_MESSAGE}
    # Then the container has each of them
    assert parts
    assert all(isinstance(vars(container)[name], kind) for name, kind in parts.items())
