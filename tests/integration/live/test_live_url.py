"""Audio of an https address: the certificate has to be of an authority that the machine trusts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from natscribe.cli.decoding import from_url
from natscribe.client import ClientError

from tests.constants import Constants
from tests.faults import make_certificates, served_with
from tests.unit.engines.opus_files import recorded

RATE_HZ = 16_000
SILENCE = np.zeros((2 * RATE_HZ, 1), np.int16)
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{part}\n#EXT-X-ENDLIST\n"


@contextmanager
def serving(certificates: Path, content: bytes) -> Iterator[str]:
    """A web server with a certificate and one response for all requests; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = served_with(certificates).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}"
        server.shutdown()


@pytest.fixture
def radio(certificates: Path) -> Iterator[str]:
    """The address of two seconds of audio."""
    with serving(certificates, recorded("wav", SILENCE, codec="pcm_s16le", rate=RATE_HZ)) as server:
        yield f"{server}/radio"


async def length_of(url: str) -> float:
    """The seconds of audio that a url has."""
    return sum([len(chunk) async for chunk in await from_url(url, 100)]) / 2 / RATE_HZ


async def test_a_certificate_that_nobody_vouches_for_is_refused(radio: str) -> None:
    # Given a web server with a certificate of its own, when its audio is requested, then the error says what to check
    with pytest.raises(ClientError, match=r"radio cannot be read \(.*certificate \(SSL_CERT_FILE"):
        await length_of(radio)


async def test_a_certificate_of_a_named_authority_is_taken(
    radio: str, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the authority that has signed it, when the audio is requested, then it comes
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.crt"))
    assert await length_of(radio) == 2


async def test_the_authorities_of_the_machine_are_taken_where_python_has_no_file_of_them(
    radio: str, certificates: Path, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a Python that expects authorities where no file is, and a machine that has them elsewhere
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent/cert.pem")
    constants(AUTHORITIES=("/nonexistent/bundle.pem", str(certificates / "ca.crt")))
    # When the audio is requested, then it comes
    assert await length_of(radio) == 2


async def test_a_playlist_whose_parts_nobody_vouches_for_is_refused(
    certificates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a playlist of a server that is known, whose part is on a server that only pretends to be one
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.crt"))
    part = recorded("mpegts", SILENCE, codec="mp2", rate=RATE_HZ)
    with (
        serving(make_certificates(tmp_path), part) as pretender,
        serving(certificates, PLAYLIST.format(part=f"{pretender}/part.ts").encode()) as server,
        # When its audio is requested, then the error says that they would have to trust it
        pytest.raises(ClientError, match=r"list.m3u8 is a playlist: .*certificates.*`ffmpeg .* live -`"),
    ):
        await length_of(f"{server}/list.m3u8")
