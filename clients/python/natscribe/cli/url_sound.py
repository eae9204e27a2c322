"""Sound of a url for live tasks: a radio, a camera, a file on a web server. PyAV decodes it, if it is installed."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

import typer

from natscribe.cli.console import WARNING, print_above
from natscribe.cli.sound import CHUNK_S, how_to_convert, in_background, paced
from natscribe.client import ClientError
from natscribe.schemas.live import LiveAudio
from natscribe.settings import without_login

if TYPE_CHECKING:
    from av import AudioFrame

AUDIO = LiveAudio()  # one channel of 16 kHz
SOUND_WITHIN_S = 10.0
_CHUNK_BYTES = 2 * round(AUDIO.sample_rate * CHUNK_S)


async def from_url(url: str, speed: float) -> AsyncIterator[bytes]:
    """Wait for the first sound of a url; return all of it: a file as fast as it was spoken, else as it comes.

    Raises:
        typer.BadParameter: PyAV is not installed; the message says how to send the sound without it.
        ClientError: The url cannot be read, or has no sound.
    """
    if find_spec("av") is None:
        message = f"to read a url here, install PyAV (pip install av); without it, {how_to_convert(url)}"
        raise typer.BadParameter(message)
    reader = _Reader(url)
    chunks = in_background(reader.chunks())
    first = await anext(chunks, None)
    if first is None:
        message = f"{reader.name} has no sound: give the address of a stream or a recording."
        raise ClientError(message)
    found = _with_first(first, chunks)
    return paced(found, speed) if reader.is_file else found


async def _with_first(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


class _Reader:
    """Reads the sound of a url; `is_file` says, from the first chunk on, whether its length is known."""

    def __init__(self, url: str) -> None:
        self.name = without_login(url)
        self.is_file = False
        self._url = url
        self._has_sound = False

    def chunks(self) -> Iterator[bytes]:
        """Yield chunks of CHUNK_S; this waits for the network. If the url breaks off, tell so, and end.

        Raises:
            ClientError: The url cannot be read.
        """
        import av  # noqa: PLC0415 -- is not installed everywhere, and takes long

        left = bytearray()
        try:
            for samples in self._decoded():
                left += samples
                while len(left) >= _CHUNK_BYTES:
                    self._has_sound = True
                    yield bytes(left[:_CHUNK_BYTES])
                    del left[:_CHUNK_BYTES]
        except (av.FFmpegError, ValueError) as error:  # ValueError: the sound has another format all of a sudden
            self._tell(error)
        if left:
            yield bytes(left)

    def _decoded(self) -> Iterator[bytes]:
        """Yield the samples of each frame; damaged ones are left out, as where a radio is entered."""
        import av  # noqa: PLC0415

        with av.open(self._url, timeout=SOUND_WITHIN_S, options=_options()) as container:
            self.is_file = container.duration is not None
            if not container.streams.audio:
                return
            resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO.sample_rate)
            for packet in container.demux(container.streams.audio[:1]):
                with suppress(av.error.InvalidDataError):
                    for frame in packet.decode():
                        yield from map(_samples, resampler.resample(frame))
            yield from map(_samples, resampler.resample(None))

    def _tell(self, error: Exception) -> None:
        if type(error).__name__ == "ExitError":  # so the library calls what has lasted too long
            why = f"nothing came for {SOUND_WITHIN_S:.0f} s"
        else:
            why = getattr(error, "strerror", None) or str(error)
        if not self._has_sound:
            certificate = ", its certificate (SSL_CERT_FILE may name its authority)" if "https:" in self.name else ""
            message = (
                f"{self.name} cannot be read ({why}): check the address{certificate}, and whether a player plays it."
            )
            raise ClientError(message) from error
        print_above(f"{self.name} has broken off ({why}): the sound ends here.", WARNING)


def _options() -> dict[str, str]:
    """Return ffmpeg's options: it verifies certificates only if it is told to, with the system's authorities."""
    authorities = ssl.get_default_verify_paths().cafile  # SSL_CERT_FILE, where that is set
    return {
        "rtsp_transport": "tcp",  # by UDP a lost packet is lost sound
        "tls_verify": "1",
        **({"ca_file": authorities} if authorities else {}),
    }


def _samples(frame: "AudioFrame") -> bytes:
    return bytes(frame.planes[0])[: 2 * frame.samples]  # behind them a plane has padding
