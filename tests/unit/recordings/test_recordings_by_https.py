"""Recordings on a web server, which says over TLS what a test has it say."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest
from natscribe.schemas.errors import ErrorCode
from structlog.testing import capture_logs

from app.runtime.errors import PermanentError, TaskError, TransientError
from app.storage.recordings.https import Https
from tests.constants import Constants
from tests.faults import served_with
from tests.tcp import served

CONTENT = bytes(range(256)) * 4 * 1024  # 1 MiB
HALF = len(CONTENT) // 2
MOST = 8 * 1024 * 1024


class WebServer:
    """Responds to each request with the same bytes, and then closes the connection."""

    def __init__(self) -> None:
        self.port = 0
        self.response = response_of(CONTENT)
        self.requests: list[str] = []
        self.stalls = False
        self.sent = 0

    @property
    def base(self) -> str:
        return f"https://localhost:{self.port}/calls/"

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.partition(b"\r\n")[0].decode())
        for at in range(0, len(self.response), 65536):
            writer.write(self.response[at : at + 65536])
            await writer.drain()
            self.sent = at
        if self.stalls:
            await asyncio.Event().wait()  # until the test ends


def response_of(body: bytes = b"", *, status: str = "200 OK", length: int | None = None, headers: str = "") -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n".encode() + body


@pytest.fixture
async def web(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    """A server whose authority the service trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.crt"))
    context = served_with(certificates)
    server = WebServer()
    async with served(server.serve, "localhost", tls=context) as server.port:
        yield server


@pytest.fixture
def recordings(web: WebServer, scratch: Path) -> Https:
    return Https(web.base, MOST)


async def refusal(recordings: Https, name: str = "meeting.flac") -> TaskError:
    with pytest.raises(TaskError) as caught:
        async with recordings.fetch(name):
            pass
    return caught.value


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("2026/meeting.flac", "/calls/2026/meeting.flac"),
        ("Größe & Co.flac", "/calls/Gr%C3%B6%C3%9Fe%20%26%20Co.flac"),
        ("%2e%2e/outside.flac", "/calls/%252e%252e/outside.flac"),
        ("meeting.flac?key=1#x", "/calls/meeting.flac%3Fkey%3D1%23x"),
        ("@evil.example.com:80", "/calls/%40evil.example.com%3A80"),
    ],
)
async def test_a_recording_is_fetched_from_below_the_address(
    recordings: Https, web: WebServer, scratch: Path, name: str, path: str
) -> None:
    # Given a web server
    # When a recording is fetched
    async with recordings.fetch(name) as recording:
        # Then it is here, with its hash
        assert recording.path.read_bytes() == CONTENT
        assert recording.sha256 == sha256(CONTENT).hexdigest()
    # And the request was for this name below the address
    assert web.requests == [f"GET {path} HTTP/1.1"]
    # And the copy is gone, and the recording stays when its task is deleted
    assert list(scratch.iterdir()) == []
    await recordings.delete(name)
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "name", ["../outside", "a/../../outside", "/outside", "//evil.example.com/x", "a//b", "..\\outside", ".", ""]
)
async def test_no_name_leads_out_of_the_address(recordings: Https, web: WebServer, name: str) -> None:
    # When a task names what is not below the address, then no request is sent to the server
    assert (await refusal(recordings, name)).detail.code is ErrorCode.AUDIO_NOT_FOUND
    assert web.requests == []


@pytest.mark.parametrize(
    ("response", "error", "code", "words"),
    [
        (response_of(status="404 Not Found"), PermanentError, ErrorCode.AUDIO_NOT_FOUND, "let the operator put it"),
        (response_of(status="410 Gone"), PermanentError, ErrorCode.AUDIO_NOT_FOUND, "let the operator put it"),
        (response_of(status="403 Forbidden"), TransientError, ErrorCode.INTERNAL, "access rules"),
        (response_of(status="401 Unauthorized"), TransientError, ErrorCode.INTERNAL, "access rules"),
        (response_of(status="503 Away"), TransientError, ErrorCode.INTERNAL, "tries again"),
        (response_of(status="599 Odd"), TransientError, ErrorCode.INTERNAL, "tries again"),
        (response_of(b"x" * 10, status="206 Part"), TransientError, ErrorCode.INTERNAL, "tries again"),
        (response_of(), PermanentError, ErrorCode.AUDIO_UNREADABLE, "empty"),
        (response_of(CONTENT[:HALF], length=len(CONTENT)), TransientError, ErrorCode.INTERNAL, "tries again"),
        (b"this is no HTTP\r\n\r\n", TransientError, ErrorCode.INTERNAL, "tries again"),
        (b"", TransientError, ErrorCode.INTERNAL, "tries again"),
    ],
    ids=["404", "410", "403", "401", "503", "599", "206", "empty", "cut off", "no HTTP", "nothing"],  # bytes are long
)
async def test_a_fault_is_named(
    recordings: Https,
    web: WebServer,
    scratch: Path,
    response: bytes,
    error: type[TaskError],
    code: ErrorCode,
    words: str,
) -> None:
    # Given a server with a fault
    web.response = response
    # When a recording is fetched
    raised = await refusal(recordings)
    # Then the fault is named, and nothing is left behind
    assert type(raised) is error
    assert raised.detail.code is code
    assert words in raised.detail.message
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Elsewhere", "308 Elsewhere"])
@pytest.mark.parametrize(
    "target", ["https://localhost:1/secret", "http://169.254.169.254/latest/meta-data", "/calls/b"]
)
async def test_a_redirect_is_not_followed(recordings: Https, web: WebServer, status: str, target: str) -> None:
    # Given a server that redirects, to another host or not
    web.response = response_of(status=status, headers=f"Location: {target}\r\n")
    # When a recording is fetched
    error = await refusal(recordings)
    # Then no other server is used, and the error says so
    assert isinstance(error, TransientError)
    assert "redirects" in error.detail.message
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "response", [b"", response_of(CONTENT[:HALF], length=len(CONTENT))], ids=["at once", "in the middle"]
)
async def test_a_stalled_download_fails(
    recordings: Https, web: WebServer, constants: Constants, response: bytes
) -> None:
    constants(STALLED_S=0.5)
    web.response, web.stalls = response, True
    with capture_logs() as lines:
        assert isinstance(await refusal(recordings), TransientError)
    assert [line["error"] for line in lines if line["event"] == "recordings_access_failed"] == ["ReadTimeout"]


@pytest.mark.parametrize("length", [True, False], ids=["says its size", "does not say its size"])
async def test_a_recording_above_the_limit_is_not_fetched_whole(web: WebServer, scratch: Path, length: bool) -> None:
    # Given a recording of 32 MiB, whose size the server may say or not
    body = b"x" * 32 * 1024 * 1024
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    web.response = response_of(body) if length else chunked
    # When it is fetched
    error = await refusal(Https(web.base, 1024 * 1024))
    # Then the limit is named, and most of it was not sent
    assert error.detail.code is ErrorCode.AUDIO_TOO_LARGE
    assert web.sent < len(body) // 2
    assert list(scratch.iterdir()) == []


async def test_an_untrusted_server_gets_no_request(
    recordings: Https, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a service that trusts the authorities of the system alone
    monkeypatch.delenv("SSL_CERT_FILE")
    # When a recording is fetched, then no request is sent
    assert isinstance(await refusal(recordings), TransientError)
    assert web.requests == []
