"""NATS for pages, and the page that records a microphone, as `natscribe up --websocket` has them."""

import asyncio
import json
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.cli.microphone_page import MicrophonePage
from app.embedded import NatsServer, free_port


async def handshake(server: str, origin: str | None) -> int:
    """Ask for a WebSocket as a page of this origin does, or as a program without one; return the HTTP status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server).port)
    lines = [
        "GET / HTTP/1.1",
        f"Host: {urlsplit(server).netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: bmF0c2NyaWJlIHRlc3RzIQ==",
        "Sec-WebSocket-Version: 13",
        *([f"Origin: {origin}"] if origin else []),
    ]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


async def test_only_known_pages_may_speak_to_nats(tmp_path: Path) -> None:
    # Given NATS for a page, and for one of somebody's own
    page = MicrophonePage(free_port(), free_port(), ["http://localhost:5173"])
    server = NatsServer(tmp_path, free_port(), more_config=page.nats_config)
    await server.start()
    known = (f"http://127.0.0.1:{page.port}", f"http://localhost:{page.port}", "http://localhost:5173", None)
    strange = ("https://example.org", f"http://127.0.0.1:{page.port + 1}", f"http://example.org:{page.port}", "null")
    # When pages ask for a WebSocket, then those that it knows get one, and programs; no others do
    try:
        assert [await handshake(page.websocket, origin) for origin in known] == [101] * len(known)
        assert [await handshake(page.websocket, origin) for origin in strange] == [403] * len(strange)
    finally:
        await server.stop()


def test_the_page_is_served_with_where_its_nats_is(tmp_path: Path) -> None:
    page = MicrophonePage(free_port(), 9333)
    with page.served(tmp_path / "page"), urllib.request.urlopen(page.url) as answer:  # noqa: S310
        # Then no other page may show it in a frame, and it may speak to its NATS alone
        policy = answer.headers["Content-Security-Policy"]
        assert policy == "connect-src 'self' ws://127.0.0.1:9333; frame-ancestors 'none'"
        assert b'<script type="module" src="page.js">' in answer.read()
        with urllib.request.urlopen(f"{page.url}settings.json") as settings:  # noqa: S310
            assert json.load(settings)["server"] == "ws://127.0.0.1:9333"
    # And it is gone afterwards
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(page.url)  # noqa: S310
