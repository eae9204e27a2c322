"""Reads the audio of a URL for live tasks, e.g. a radio, a camera or a file on a web server, with PyAV."""

import os
import ssl
from collections.abc import AsyncIterator

from natscribe.cli.audio_input import conversion_hint, paced
from natscribe.cli.console import require
from natscribe.cli.decoding import PyAVReader, after_first_chunk, has_pyav
from natscribe.settings import without_login

AUTHORITIES = (  # of Debian, Fedora and macOS, for a Python without default authorities
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


async def from_url(url: str, speed: float) -> AsyncIterator[bytes]:
    """Open a URL, wait for the first chunk, and return an iterator over the decoded audio.

    `speed`: how many seconds of a file the iterator yields per second; a stream is yielded as it arrives.

    Raises:
        typer.BadParameter: PyAV is not installed; the message says how to send the audio without it.
        ClientError: The URL cannot be read, or has no audio.
    """
    require(has_pyav(), f"to read a URL here, install PyAV (pip install av); without it, {conversion_hint(url)}")
    name = without_login(url)
    certificate = ", its certificate (SSL_CERT_FILE may name its authority)" if "https:" in name else ""
    hint = f"check the address{certificate}, and whether a player plays it."
    reader = PyAVReader(url, name, _options(), hint)
    audio = await after_first_chunk(reader.chunks(), name, hint)
    return paced(audio, speed) if reader.is_file else audio


def _options() -> dict[str, str]:
    """Return options that make FFmpeg verify certificates with the system's authorities: by default it does not."""
    authorities = ssl.get_default_verify_paths().cafile or next(filter(os.path.isfile, AUTHORITIES), None)
    return {
        "rtsp_transport": "tcp",  # with UDP a lost packet is lost audio
        "tls_verify": "1",
        **({"ca_file": authorities} if authorities else {}),
    }
