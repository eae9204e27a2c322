"""Decodes the audio of files and URLs for live tasks, with the library PyAV; without it, only files, with ffmpeg."""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain, groupby
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING

import typer

from natscribe.cli.audio_input import ACCEPTED, CHUNK_S, conversion_hint, paced, read_in_thread, with_first
from natscribe.cli.console import WARNING, print_above
from natscribe.client import ClientError
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.task_fields import FORMATS

if TYPE_CHECKING:
    from av import AudioFrame
    from av.container import InputContainer

AUDIO = LiveAudio()  # one channel of 16 kHz
NETWORK_TIMEOUT_S = 10.0
_CHUNK_BYTES = 2 * round(AUDIO.sample_rate * CHUNK_S)
_ONE_FILE = {"protocol_whitelist": "file", "format_whitelist": FORMATS}  # and nothing that it refers to
_PLAYLISTS = ("hls", "dash")  # ffmpeg fetches their parts without the options that verify certificates


def has_pyav() -> bool:
    """Whether the library PyAV is installed."""
    return find_spec("av") is not None


async def from_file(path: Path, speed: float) -> AsyncIterator[bytes]:
    """Start decoding a file, wait for the first chunk, and return an iterator over the decoded audio.

    The audio has 16-bit samples, 16 kHz and one channel. `speed`: how many seconds of audio the iterator yields per
    second.

    Raises:
        typer.BadParameter: Neither PyAV nor ffmpeg is installed.
        ClientError: The file cannot be read, or has no audio.
    """
    hint = "check whether a player plays it."
    if has_pyav():
        chunks = PyAVReader(f"file:{path}", path.name, _ONE_FILE, hint).chunks()
    elif which("ffmpeg"):
        chunks = _by_ffmpeg(path, hint)
    else:
        message = f"to play {path.name}, install ffmpeg, or PyAV (pip install av); without them, {ACCEPTED}"
        raise typer.BadParameter(message)
    return paced(await after_first_chunk(chunks, path.name, hint), speed)


async def after_first_chunk(chunks: Iterator[bytes], name: str, hint: str) -> AsyncIterator[bytes]:
    """Iterate over `chunks` in a thread; wait for the first chunk, and return an iterator over all of them.

    `name`: the name of the audio in the error message. `hint`: the advice in that message.

    Raises:
        ClientError: The audio cannot be read, or is empty.
    """
    audio = read_in_thread(chunks)
    first = asyncio.ensure_future(anext(audio, b""))
    if not await first:
        message = f"{name} has no audio: {hint}"
        raise ClientError(message)
    return with_first(first, audio)


class PyAVReader:
    """Decodes the audio of a file or URL with PyAV.

    `is_file`: whether the audio has a known length, unlike a stream; the value is valid once a chunk is decoded.
    """

    def __init__(self, address: str, name: str, options: Mapping[str, str], hint: str) -> None:
        """Store the arguments; `chunks` opens the audio.

        `address`: the file or URL that FFmpeg opens. `options`: FFmpeg's options for opening it. `name`: the name of
        the audio in messages. `hint`: the advice in the error message if the audio cannot be read.
        """
        self.is_file = False
        self._address = address
        self._name = name
        self._options = options
        self._hint = hint
        self._has_audio = False

    def chunks(self) -> Iterator[bytes]:
        """Yield the decoded audio in chunks of CHUNK_S seconds; each step may block until data arrives.

        If an error occurs after the first chunk, the generator prints a warning and ends.

        Raises:
            ClientError: An error has occurred before the first chunk, or the audio is a playlist at an https address.
        """
        import av  # noqa: PLC0415 -- is not installed everywhere, and takes long

        left = bytearray()
        try:
            for samples in self._decoded():
                left += samples
                while len(left) >= _CHUNK_BYTES:
                    self._has_audio = True
                    yield bytes(left[:_CHUNK_BYTES])
                    del left[:_CHUNK_BYTES]
        except (av.FFmpegError, ValueError) as error:  # ValueError: the format of the audio has changed
            self._handle(error)
        if left:
            yield bytes(left)

    def _decoded(self) -> Iterator[bytes]:
        """Yield the samples of each decoded frame; skip damaged frames, with which a radio stream may begin."""
        import av  # noqa: PLC0415

        with av.open(self._address, timeout=NETWORK_TIMEOUT_S, options=dict(self._options)) as container:
            if "https:" in self._name and container.format.name in _PLAYLISTS:
                message = (
                    f"{self._name} is a playlist: the certificates of its parts cannot be verified here. "
                    f"Without verification, {conversion_hint(self._name)}"
                )
                raise ClientError(message)
            self.is_file = container.duration is not None
            if not container.streams.audio:
                return
            for _, frames in groupby(_frames(container), _format):
                resampler = av.AudioResampler(format="s16", layout="mono", rate=AUDIO.sample_rate)
                for frame in chain(frames, [None]):
                    yield from map(_samples, resampler.resample(frame))

    def _handle(self, error: Exception) -> None:
        if type(error).__name__ == "ExitError":  # the library's name for a timeout
            why = f"nothing arrived for {NETWORK_TIMEOUT_S:.0f} s"
        else:
            why = getattr(error, "strerror", None) or str(error)
        if not self._has_audio:
            raise _unreadable(self._name, why, self._hint) from error
        _warn_of_end(self._name, why)


def _frames(container: "InputContainer") -> Iterator["AudioFrame"]:
    import av  # noqa: PLC0415

    for packet in container.demux(container.streams.audio[:1]):
        with suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _format(frame: "AudioFrame") -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _samples(frame: "AudioFrame") -> bytes:
    return bytes(frame.planes[0])[: 2 * frame.samples]  # after them a plane has padding


def _by_ffmpeg(path: Path, hint: str) -> Iterator[bytes]:
    """Decode a file with the program ffmpeg, and yield the audio in chunks of CHUNK_S seconds.

    If ffmpeg fails after the first chunk, the generator prints a warning and ends. `hint`: the advice in the error
    message.

    Raises:
        ClientError: ffmpeg has failed before the first chunk.
    """
    samples = ["-map", "0:a:0", "-f", "s16le", "-ac", "1", "-ar", str(AUDIO.sample_rate)]
    restrictions = [word for option, value in _ONE_FILE.items() for word in (f"-{option}", value)]
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", *restrictions, "-i", f"file:{path}", *samples, "-"]
    has_audio = False
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        with subprocess.Popen(  # noqa: S603 -- no shell
            command, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        ) as ffmpeg:  # in a session of its own, Ctrl-C ends the audio and not ffmpeg
            if ffmpeg.stdout is not None:
                while chunk := ffmpeg.stdout.read(_CHUNK_BYTES):
                    has_audio = True
                    yield chunk
        if not ffmpeg.returncode:
            return
        log.seek(0)
        # The first line is the cause, after a prefix of ffmpeg, as in "[mp3 @ 0x55d0] Header missing".
        why = log.readline().strip().rpartition("] ")[2] or f"ffmpeg ended with {ffmpeg.returncode}"
    if "matches no streams" in why:
        return
    if not has_audio:
        raise _unreadable(path.name, why, hint)
    _warn_of_end(path.name, why)


def _unreadable(name: str, why: str, hint: str) -> ClientError:
    return ClientError(f"{name} cannot be read ({why}): {hint}")


def _warn_of_end(name: str, why: str) -> None:
    print_above(f"{name} broke off ({why}): the audio ends here.", WARNING)
