"""The ports of `natscribe up`, and the origins that may use NATS."""

import socket
from pathlib import Path
from typing import Any

import pytest
from natscribe.client import ClientError

from app.command import commands, up
from app.command.embedded import free_port
from app.command.embedded.process import HOST
from app.command.page import PageOptions, WebPage, choose_page
from app.command.ports import choose_port
from app.settings import Settings


def test_a_port_is_that_of_the_option_or_the_default_if_it_is_free() -> None:
    default, named = free_port(), free_port()
    assert choose_port(None, default, "--port") == default
    assert choose_port(named, default, "--port") == named
    with socket.create_server(("127.0.0.1", default)):
        assert choose_port(None, default, "--port") not in {default, None}
        with pytest.raises(ClientError, match="--port"):
            choose_port(default, named, "--port")


def test_the_page_and_its_nats_have_other_ports_than_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a default port of the page that no other program of this machine uses
    default = free_port()
    monkeypatch.setattr("app.command.page.PAGE_PORT", default)
    # When the service or NATS has it, then the page, NATS and the service have different ports
    for port, service in ((None, default), (default, free_port())):
        page = choose_page(PageOptions(port), tmp_path, names_nats=False, http_port=service)
        assert page is not None
        assert len({page.port, page.websocket_port, service}) == 3
    # And NATS cannot have the port of the service
    with pytest.raises(ClientError, match="--websocket-port"):
        choose_page(PageOptions(8050), tmp_path, names_nats=False, http_port=8050)


def test_a_restart_uses_the_same_ports_so_that_open_pages_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run for which the default port of the page was not free
    default, service = free_port(), free_port()
    monkeypatch.setattr("app.command.page.PAGE_PORT", default)

    def choose(options: PageOptions | None = None) -> WebPage:
        page = choose_page(options or PageOptions(), tmp_path, names_nats=False, http_port=service)
        assert page is not None
        return page

    with socket.create_server((HOST, default)):
        first = choose()
    assert default not in {first.port, first.websocket_port}
    # When it is started again, then it has the ports of the last run, also if the default port is free now
    assert choose() == first
    # And those of options come first, and are the last ones from then on
    named = choose(PageOptions(websocket_port=free_port(), port=free_port()))
    assert first.port != named.port
    assert choose() == named
    # And a port that another program has taken is replaced, and a damaged file is ignored
    with socket.create_server((HOST, named.port)):
        assert choose().port not in {named.port, service}
    (tmp_path / "page.json").write_text("[]", encoding="utf-8")
    assert choose().port == default


def test_a_port_that_was_taken_after_the_choice_is_reported() -> None:
    with socket.create_server((HOST, 0)) as taken:
        page = WebPage(taken.getsockname()[1], free_port())
        with pytest.raises(ClientError, match="start again"), page.served(Settings(_env_file=None)):
            pass


@pytest.mark.parametrize(
    ("options", "page"),
    [
        ({}, PageOptions(None, ())),
        ({"no_page": True}, None),
        ({"websocket_port": 9000, "page_port": 9001}, PageOptions(9000, (), 9001)),
        ({"origin": ["http://localhost:5173"]}, PageOptions(None, ["http://localhost:5173"])),
    ],
)
def test_the_page_is_served_unless_an_option_turns_it_off(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], page: PageOptions | None
) -> None:
    runs: list[tuple[object, ...]] = []
    monkeypatch.setattr(up, "run", lambda *options: runs.append(options))
    commands.up(**options)
    assert runs == [(1, "127.0.0.1", None, page, ())]


def test_services_on_top_are_named_in_one_option(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[object, ...]] = []
    monkeypatch.setattr(up, "run", lambda *options: runs.append(options))
    commands.up(no_page=True, with_="search,forward")
    assert runs == [(1, "127.0.0.1", None, None, ("search", "forward"))]
