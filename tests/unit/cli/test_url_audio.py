"""Audio of a URL: how it is decoded, and what is reported if it cannot be read."""

import asyncio
import io
import socket
import sys
import time
import wave
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import typer
from natscribe.cli.decoding import from_url
from natscribe.client import ClientError

from tests.constants import Constants
from tests.tcp import served

RATE_HZ = 16_000
SECONDS = 3


def recording(seconds: int = SECONDS) -> bytes:
    """A WAV file with two channels of 44.1 kHz."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setparams((2, 2, 44_100, 0, "NONE", ""))
        file.writeframes(bytes([0, 16]) * 2 * 44_100 * seconds)
    return written.getvalue()


@asynccontextmanager
async def serving(body: bytes, *, promised: int | None = None, status: str = "200 OK") -> AsyncIterator[str]:
    """Run a web server that sends a body in ten parts with pauses, as a radio; yields its address, with a login.

    The body may be shorter than the promised bytes.
    """

    async def send(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.0 {status}\r\nContent-Length: {promised or len(body)}\r\n\r\n".encode())
        size = len(body) // 10 + 1
        for begin in range(0, len(body), size):
            writer.write(body[begin : begin + size])
            await writer.drain()
            await asyncio.sleep(0.01)

    async with served(send) as port:
        yield f"http://user:secret@127.0.0.1:{port}/radio"


async def test_a_recording_on_a_web_server_is_paced() -> None:
    # Given a web server that sends a recording slowly
    async with serving(recording()) as url:
        # When it is played ten times as fast
        started = time.monotonic()
        audio = b"".join([chunk async for chunk in await from_url(url, 10)])
        took = time.monotonic() - started
    # Then it has one channel of 16 kHz and its exact length, and took a tenth of its duration
    assert len(audio) == SECONDS * 2 * RATE_HZ
    assert set(audio[RATE_HZ : RATE_HZ + 20]) == {0, 16}
    assert took >= SECONDS / 10 - 0.1


async def test_audio_that_breaks_off_ends_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    # Given a web server that sends less than its Content-Length
    body = recording()
    async with serving(body[: len(body) // 3], promised=len(body)) as url:
        audio = b"".join([chunk async for chunk in await from_url(url, 100)])
    # Then its audio is decoded
    assert 0.9 * RATE_HZ * 2 < len(audio) <= RATE_HZ * 2
    # And a warning says so, without the login
    warning = capsys.readouterr().err
    assert "broke off" in warning
    assert "secret" not in warning


async def test_the_cause_of_a_failure_is_reported() -> None:
    # Given a missing file, a page, and a host without a server
    async with serving(b"", status="404 Not Found") as url:
        with pytest.raises(ClientError, match=r"/radio cannot be read \(.*404 Not Found\): check"):
            await from_url(url, 1)
    async with serving(b"<html>no audio</html>" * 100) as url:
        with pytest.raises(ClientError, match="Invalid data"):
            await from_url(url, 1)
    with pytest.raises(ClientError, match="cannot be read"):
        await from_url("http://127.0.0.1:9/radio", 1)


async def test_a_silent_server_times_out(constants: Constants) -> None:
    constants(NETWORK_TIMEOUT_S=0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/radio"
        with pytest.raises(ClientError, match="nothing arrived for"):
            await from_url(url, 1)


async def test_a_missing_decoder_is_reported_with_a_workaround(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(typer.BadParameter, match=r"pip install av.*-i https://radio.example/live -f s16le"):
        await from_url("https://radio.example/live", 1)
