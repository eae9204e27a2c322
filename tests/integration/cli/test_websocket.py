"""The page of `natscribe up`, and the WebSocket of NATS that it uses."""

import asyncio
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app.command.embedded import NatsServer, free_port, running
from app.command.page import WebPage
from app.settings import Settings
from tests.document import ROOT
from tests.waiting import eventually

BROWSER = ROOT / "web"


async def handshake(server: str, origin: str | None) -> int:
    """Request a WebSocket as a page of this origin, or as a program (None); return the HTTP status."""
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


async def test_only_allowed_origins_may_connect_to_nats(tmp_path: Path) -> None:
    # Given NATS for the page and for another origin
    page = WebPage(free_port(), free_port(), ["http://localhost:5173"])
    server = NatsServer(tmp_path, free_port(), more_config=page.nats_config)
    allowed = (f"http://127.0.0.1:{page.port}", f"http://localhost:{page.port}", "http://localhost:5173", None)
    refused = ("https://example.org", f"http://127.0.0.1:{page.port + 1}", f"http://example.org:{page.port}", "null")
    # When pages request a WebSocket, then only allowed origins and programs get one
    async with running(server):
        assert [await handshake(page.websocket, origin) for origin in allowed] == [101] * len(allowed)
        assert [await handshake(page.websocket, origin) for origin in refused] == [403] * len(refused)


@pytest.fixture
def page() -> WebPage:
    return WebPage(free_port(), 9333)


def test_the_page_is_served_with_the_address_of_its_nats(page: WebPage) -> None:
    with page.served(Settings(_env_file=None)), urllib.request.urlopen(page.url) as reply:  # noqa: S310
        # Then it may connect only to its NATS, and no page may show it in a frame
        policy = reply.headers["Content-Security-Policy"]
        assert policy == "connect-src 'self' ws://127.0.0.1:9333; frame-ancestors 'none'"
        assert b'<script type="module" src="app.js">' in reply.read()
    # And it is served only until the block ends
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(page.url)  # noqa: S310


@pytest.mark.parametrize(("store", "bucket"), [("nats://calls", "calls"), ("file:///recordings", None)])
def test_the_page_uploads_only_to_a_bucket_of_its_nats(page: WebPage, store: str, bucket: str | None) -> None:
    settings = Settings(_env_file=None, audio_store=store, audio_max_bytes=1000)
    with page.served(settings), urllib.request.urlopen(f"{page.url}settings.json") as reply:  # noqa: S310
        written = json.load(reply)
    assert (written["server"], written["bucket"], written["maxBytes"]) == ("ws://127.0.0.1:9333", bucket, 1000)


def test_only_the_files_of_the_page_are_served(page: WebPage) -> None:
    with page.served(Settings(_env_file=None)):
        for path in ("../page.py", "%2e%2e/page.py", "//etc/passwd", "web/", ".data"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(page.url + path)  # noqa: S310


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((host, 200) for host in ("localhost", "LOCALHOST:8001", "127.0.0.1", "127.0.0.1:9", "[::1]:8001")),
        *((host, 421) for host in ("example.org", "127.0.0.1.example.org:8001", "localhost.example.org", "[::1", "")),
    ],
)
def test_the_page_is_not_served_under_the_name_of_another_site(page: WebPage, host: str, status: int) -> None:
    # Given a name that leads to this machine, as DNS rebinding makes one
    with page.served(Settings(_env_file=None)), closing(HTTPConnection("127.0.0.1", page.port)) as connection:
        # When a browser requests the settings under that name, then only names of this machine get them
        connection.request("GET", "/settings.json", headers={"Host": host})
        reply = connection.getresponse()
        assert (reply.status, b"9333" in reply.read()) == (status, status == HTTPStatus.OK)


async def test_a_connection_that_ends_early_writes_no_traceback(
    page: WebPage, capfd: pytest.CaptureFixture[str]
) -> None:
    with page.served(Settings(_env_file=None)):
        threads = threading.active_count()
        # When a browser resets connections in the middle of a request, or before it has read the reply
        for request in (b"GET / HT", b"GET /nats.js HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", page.port)) as connection:
                connection.sendall(request)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await eventually(lambda: threading.active_count() == threads)
    # Then the operator reads nothing of it
    assert capfd.readouterr() == ("", "")


def test_the_page_is_small_on_the_wire(page: WebPage) -> None:
    # Given a browser that accepts compressed files, when it loads all files of the page
    sizes = dict[str, int]()
    with page.served(Settings(_env_file=None)):
        for path in {*BROWSER.iterdir()} - {BROWSER / "README.md"}:
            request = urllib.request.Request(page.url + path.name, headers={"Accept-Encoding": "gzip"})  # noqa: S310
            with urllib.request.urlopen(request) as reply:  # noqa: S310
                sizes[path.name] = len(reply.read())
    # Then the page and its NATS client are within their budgets
    assert sum(sizes.values()) <= 150_000
    assert sum(sizes.values()) - sizes["nats.js"] <= 60_000
