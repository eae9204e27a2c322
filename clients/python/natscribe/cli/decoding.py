"""Decodes the audio of files and URLs for live tasks, with the library PyAV."""

import os
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from natscribe.cli.audio_input import CHUNK_S, after_first, conversion_hint, paced
from natscribe.cli.console import WARNING, print_above, require
from natscribe.client import ClientError
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.task_fields import FORMATS
from natscribe.settings import without_login

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer

AUDIO = LiveAudio()  # one channel of 16 kHz
NETWORK_TIMEOUT_S = 10.0
_CHUNK_BYTES = 2 * round(AUDIO.sample_rate * CHUNK_S)
_ONE_FILE = {"protocol_whitelist": "file", "format_whitelist": FORMATS}  # and nothing that it refers to
AUTHORITIES = (  # of Debian, Fedora and macOS, for a Python without default authorities
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
_PLAYLISTS = ("hls", "dash")  # ffmpeg fetches their parts without the options that verify certificates


class _BrokenAudioError(Exception):
    """The audio cannot be read, or breaks off; the message says why."""


def _require_pyav(purpose: str, source: str) -> None:
    require(find_spec("av"), f"{purpose}, install PyAV (pip install av); without it, {conversion_hint(source)}")


async def from_file(path: Path, speed: float) -> AsyncIterator[bytes]:
    """Start decoding a file, wait for the first chunk, and return an iterator over the decoded audio.

    The audio has 16-bit samples, 16 kHz and one channel. `speed`: how many seconds of audio the iterator yields per
    second.

    Raises:
        typer.BadParameter: PyAV is not installed; the message says how to send the audio without it.
        ClientError: The file cannot be read, or has no audio.
    """
    _require_pyav(f"to play {path.name}", str(path))
    chunks = _Reader(f"file:{path}", path.name, _ONE_FILE).chunks()
    audio = _until_broken(chunks, path.name, "check whether a player plays it.")
    return paced(await after_first(audio), speed)


async def from_url(url: str, speed: float) -> AsyncIterator[bytes]:
    """Open a URL, e.g. of a radio, wait for the first chunk, and return an iterator over the decoded audio.

    `speed`: how many seconds of a file the iterator yields per second; a stream is yielded as it arrives.

    Raises:
        typer.BadParameter: PyAV is not installed; the message says how to send the audio without it.
        ClientError: The URL cannot be read, or has no audio.
    """
    _require_pyav("to read a URL here", url)
    name = without_login(url)
    certificate = ", its certificate (SSL_CERT_FILE may name its authority)" if "https:" in name else ""
    hint = f"check the address{certificate}, and whether a player plays it"
    reader = _Reader(url, name, _options_of_urls())
    audio = await after_first(_until_broken(reader.chunks(), name, hint))
    return paced(audio, speed) if reader.is_file else audio


def _options_of_urls() -> dict[str, str]:
    """Return FFmpeg's options for URLs: RTSP over TCP, and verification of certificates, which is off by default."""
    authorities = ssl.get_default_verify_paths().cafile or next(filter(os.path.isfile, AUTHORITIES), None)
    return {
        "rtsp_transport": "tcp",  # with UDP a lost packet is lost audio
        "tls_verify": "1",
        **({"ca_file": authorities} if authorities else {}),
    }


def _until_broken(chunks: Iterator[bytes], name: str, hint: str) -> Iterator[bytes]:
    """Yield `chunks`; if the audio breaks off after the first chunk, print a warning and end.

    `name`: the name of the audio in messages. `hint`: the advice in error messages.

    Raises:
        ClientError: The audio cannot be read, or is empty.
    """
    has_audio = False
    try:
        for chunk in chunks:
            has_audio = True
            yield chunk
    except _BrokenAudioError as error:
        if not has_audio:
            what = f"{name} cannot be read ({error})"
            raise ClientError(what, hint) from error
        print_above(f"{name} broke off ({error}): the audio ends here.", WARNING)
    if not has_audio:
        what = f"{name} has no audio"
        raise ClientError(what, hint)


@dataclass
class _Reader:
    """Decodes the audio of a file or URL with PyAV.

    `address`: the file or URL that FFmpeg opens. `name`: the name of the audio in messages. `options`: FFmpeg's options
    for opening it. `is_file`: whether the audio has a known length, unlike a stream; valid once a chunk is decoded.
    """

    address: str
    name: str
    options: Mapping[str, str]
    is_file: bool = False

    def chunks(self) -> Iterator[bytes]:
        """Yield the decoded audio in chunks of CHUNK_S seconds; each step may block until data arrives.

        Raises:
            _BrokenAudioError: The audio cannot be read, or breaks off.
            ClientError: The audio is a playlist at an https address: the certificates of its parts cannot be verified.
        """
        import av  # noqa: PLC0415 -- is not installed everywhere, and takes long

        left, failure = bytearray(), None
        try:
            for samples in self._decoded():
                left += samples
                while len(left) >= _CHUNK_BYTES:
                    yield bytes(left[:_CHUNK_BYTES])
                    del left[:_CHUNK_BYTES]
        except (av.FFmpegError, ValueError) as error:  # ValueError: the format of the audio has changed
            failure = error
        if left:
            yield bytes(left)
        if failure is not None:
            is_timeout = type(failure).__name__ == "ExitError"  # the library's name for it
            silence = f"nothing arrived for {NETWORK_TIMEOUT_S:.0f} s"
            raise _BrokenAudioError(silence if is_timeout else getattr(failure, "strerror", None) or failure)

    def _decoded(self) -> Iterator[bytes]:
        """Yield the samples of each decoded frame; skip damaged frames, with which a radio stream may begin."""
        import av  # noqa: PLC0415

        with av.open(self.address, timeout=NETWORK_TIMEOUT_S, options=dict(self.options)) as container:
            if "https:" in self.name and container.format.name in _PLAYLISTS:
                what = f"{self.name} is a playlist"
                next_step = (
                    "the certificates of its parts cannot be verified here. "
                    f"Without verification, {conversion_hint(self.name)}"
                )
                raise ClientError(what, next_step)
            self.is_file = container.duration is not None
            if not container.streams.audio:
                return
            for _, frames in groupby(_frames(container), _format):
                resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO.sample_rate)
                for frame in chain(frames, [None]):
                    yield from map(_samples, resampler.resample(frame))


def _frames(container: "InputContainer") -> Iterator["AudioFrame"]:
    import av  # noqa: PLC0415

    for packet in container.demux(container.streams.audio[:1]):
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _format(frame: "AudioFrame") -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _samples(frame: "AudioFrame") -> bytes:
    return bytes(frame.planes[0])[: 2 * frame.samples]  # after them a plane has padding
