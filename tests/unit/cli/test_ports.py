"""Which ports `natscribe up` listens on, and to whom it opens NATS."""

import socket
from typing import Any

import pytest

from app.cli import commands, up
from app.cli.microphone_page import WebSocket
from app.cli.ports import PortInUseError, chosen_port
from app.embedded import free_port


def test_a_port_is_the_one_that_is_named_or_the_usual_one_if_it_is_free() -> None:
    usual, named = free_port(), free_port()
    assert chosen_port(None, usual, "--port") == usual
    assert chosen_port(named, usual, "--port") == named
    with socket.create_server(("127.0.0.1", usual)):
        assert chosen_port(None, usual, "--port") not in {usual, None}
        with pytest.raises(PortInUseError, match="--port"):
            chosen_port(usual, named, "--port")


@pytest.mark.parametrize(
    ("options", "websocket"),
    [
        ({}, None),
        ({"websocket": True}, WebSocket(None, ())),
        ({"websocket_port": 9000}, WebSocket(9000, ())),
        ({"origin": ["http://localhost:5173"]}, WebSocket(None, ["http://localhost:5173"])),
    ],
)
def test_each_option_of_a_page_opens_nats(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], websocket: WebSocket | None
) -> None:
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(up, "run", lambda *given: asked.append(given))
    commands.up(**options)
    assert asked == [(1, "127.0.0.1", None, websocket)]
