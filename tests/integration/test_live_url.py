"""Sound of an https address: the certificate has to be of an authority that the machine trusts."""

import io
import threading
import wave
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from natscribe.cli.url_sound import from_url
from natscribe.client import ClientError

from tests.faults import served_with


@pytest.fixture
def radio(certificates: Path) -> Iterator[str]:
    """A web server with a certificate that sends two seconds of sound."""
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(64_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(sound.getvalue())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = served_with(certificates).wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"https://localhost:{server.server_port}/radio"
        server.shutdown()


async def test_a_certificate_that_nobody_vouches_for_is_refused(radio: str) -> None:
    # Given a web server with a certificate of its own, when its sound is asked for, then people are told what to check
    with pytest.raises(ClientError, match=r"radio cannot be read \(.*certificate \(SSL_CERT_FILE"):
        await from_url(radio, 100)


async def test_a_certificate_of_a_named_authority_is_taken(
    radio: str, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the authority that has signed it
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.crt"))
    # When the sound is asked for, then it comes
    assert len(b"".join([chunk async for chunk in await from_url(radio, 100)])) == 64_000
