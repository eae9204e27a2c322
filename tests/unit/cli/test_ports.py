"""Which port a server of `natscribe up` gets."""

import socket

import pytest

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
