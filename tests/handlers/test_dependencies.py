"""Whatever a handler asks FastStream's context for, the container has, of the type that the handler expects."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import pytest
from nats.aio.client import Client

from app.container import IN_CONTEXT, Container
from app.settings import Settings
from app.telemetry.tracing import OFF
from handlers import accepted_tasks, dead_letters, diarization, requests, transcription, windows
from handlers.dependencies import FromContext
from tests.fakes.engine import FakeEngine

OF_A_MESSAGE = {"message", "task_run"}  # which FastStream and the middleware of tasks put into the context
MODULES = (accepted_tasks, dead_letters, diarization, requests, transcription, windows)


def handlers() -> Iterator[Callable[..., Any]]:
    for module in MODULES:
        yield from (each for _, each in inspect.getmembers(module, inspect.iscoroutinefunction))


@pytest.fixture(scope="module")
def container() -> Container:
    container = Container(Settings(_env_file=None), FakeEngine(), traces=OFF, broken=lambda: None)
    container.connect(Client(), ack_wait=15)
    return container


@pytest.mark.parametrize("handler", list(handlers()), ids=lambda each: f"{each.__module__}.{each.__name__}")
def test_the_container_has_what_a_handler_asks_for(container: Container, handler: Callable[..., Any]) -> None:
    # Given a container whose parts are made, when a handler asks for parts by the names and types of its parameters
    hints = get_type_hints(handler, include_extras=True)
    asked = {
        name: hint.__origin__
        for name, hint in hints.items()
        if any(isinstance(each, FromContext) for each in getattr(hint, "__metadata__", ()))
    }
    parts = {name: kind for name, kind in asked.items() if name not in OF_A_MESSAGE}
    # Then each is in the context
    assert asked
    assert parts.keys() <= set(IN_CONTEXT)
    assert all(isinstance(getattr(container, name), kind) for name, kind in parts.items())
