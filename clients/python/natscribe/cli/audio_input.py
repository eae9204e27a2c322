"""Sound for live tasks: from standard input as it comes, or from a file as fast as it was spoken."""

import asyncio
import os
import shlex
import struct
import sys
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import typer
from pydantic import ValidationError

from natscribe.client import ClientError, command
from natscribe.client.recordings import length, trouble
from natscribe.schemas.live import Codec, LiveAudio

STANDARD_INPUT = "-"
CHUNK_S = 0.1
_AT_ONCE_S = 1.0
_READ_BYTES = 65_536
_KEPT_CHUNKS = 4096  # while NATS is away: eight minutes of what `arecord` writes
_HEAD_BYTES = 4096  # in which a file says what it is
_OPUS_RATE_HZ = 48_000  # of every decoder
_OPUS_BYTES_IN_A_SECOND = 6000  # if the file does not say its length
_WAV_CODECS = {(1, 16): Codec.PCM_S16LE, (6, 8): Codec.ALAW, (7, 8): Codec.MULAW}  # format tag, bits in a sample
_HEADERS = b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"\x1aE\xdf\xa3"  # of files, which are no samples
ACCEPTED = (
    "only WAV with 16-bit samples, mu-law or A-law, and Opus in Ogg or WebM can be sent, with one or two channels"
)
_EXTENSIBLE = 0xFFFE  # the format tag of WAV files whose codec stands further behind


class OtherFormatError(Exception):
    """A file cannot be sent as it is."""


def check_input() -> None:
    """Check that sound can come from standard input.

    Raises:
        typer.BadParameter: Standard input is a terminal.
    """
    if sys.stdin.isatty():
        example = f"arecord -f S16_LE -r 16000 -c 1 -t raw | {command()} live -"
        message = f"standard input is a terminal: send sound to it, as in `{example}`"
        raise typer.BadParameter(message)


async def from_input(codec: Codec) -> AsyncIterator[bytes]:
    """Return an iterator over standard input's sound, as it comes; check first what arrives within _AT_ONCE_S.

    Raises:
        ClientError: The sound, unless Opus, begins as a file; the iterator raises this if the sound comes later.
    """
    chunks = iter(lambda: os.read(sys.stdin.fileno(), _READ_BYTES), b"")
    sound = read_in_thread(chunks if codec is Codec.OPUS else samples(chunks))
    first = asyncio.ensure_future(anext(sound, b""))
    await asyncio.wait([first], timeout=_AT_ONCE_S)
    if first.done():
        first.result()
    return _behind(first, sound)


async def _behind(first: "asyncio.Future[bytes]", sound: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if chunk := await first:
        yield chunk
    async for chunk in sound:
        yield chunk


def samples(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks of samples unchanged.

    Raises:
        ClientError: The samples begin with the header of a file.
    """
    for number, chunk in enumerate(chunks):
        if not number and (chunk.startswith(_HEADERS) or chunk[4:8] == b"ftyp"):
            here = f"{command()} live"
            message = f"Standard input begins as a file: `{here} FILE` plays files, `{here} - --codec opus` hears Opus."
            raise ClientError(message)
        yield chunk


async def read_in_thread(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield chunks that a thread waits for, as they come; keep up to _KEPT_CHUNKS while nobody takes them.

    Raises:
        ClientError: Reading the chunks has failed.
    """
    loop = asyncio.get_running_loop()
    kept: asyncio.Queue[bytes | ClientError | None] = asyncio.Queue(_KEPT_CHUNKS)

    def keep(chunk: bytes | ClientError | None) -> None:
        asyncio.run_coroutine_threadsafe(kept.put(chunk), loop).result()

    def read() -> None:
        end = None
        try:
            for chunk in chunks:
                keep(chunk)
        except ClientError as error:
            end = error
        except Exception as error:  # noqa: BLE001 -- whatever it is, the command must not wait for ever
            end = ClientError(f"The sound cannot be read on ({str(error) or type(error).__name__}): it ends here.")
        with suppress(RuntimeError):  # the command has ended
            keep(end)

    threading.Thread(target=read, daemon=True).start()  # nothing can end a read: it must not keep the command alive
    while (chunk := await kept.get()) is not None:
        if isinstance(chunk, ClientError):
            raise chunk
        yield chunk


async def paced(chunks: AsyncIterator[bytes], speed: float) -> AsyncIterator[bytes]:
    """Yield chunks of CHUNK_S as fast as they were spoken, or `speed` times as fast."""
    loop = asyncio.get_running_loop()
    began, sent = loop.time(), 0
    async for chunk in chunks:
        yield chunk
        sent += 1
        await asyncio.sleep(began + sent * CHUNK_S / speed - loop.time())


def existing_file(argument: str, most_bytes: int) -> Path:
    """Return the file that an argument names.

    Raises:
        typer.BadParameter: There is no such file, it is empty or too large.
    """
    path = Path(argument).expanduser() if argument.startswith("~/") else Path(argument)
    if (why := trouble(path, most_bytes)) is not None:
        raise typer.BadParameter(why)
    return path


class AudioFile:
    """A file whose sound can be sent as it is: WAV with 16-bit samples, mu-law or A-law, or Opus in Ogg or WebM."""

    def __init__(self, path: Path) -> None:
        """Read the header of the file.

        Raises:
            OtherFormatError: The file cannot be sent as it is.
        """
        self._path = path
        self._from, self._bytes = 0, path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            try:
                self.audio = self._wav(file) if (head[:4], head[8:12]) == (b"RIFF", b"WAVE") else _opus(head)
            except (LookupError, struct.error, ValidationError) as error:
                raise OtherFormatError from error

    def chunks(self, speed: float) -> AsyncIterator[bytes]:
        """Yield the sound as fast as it was spoken, or `speed` times as fast."""
        return paced(self._chunks(), speed)

    async def _chunks(self) -> AsyncIterator[bytes]:
        size, left = max(int(await self._bytes_in_a_second() * CHUNK_S), 1), self._bytes
        with self._path.open("rb") as file:
            file.seek(self._from)
            while chunk := file.read(min(size, left)):
                yield chunk
                left -= len(chunk)

    def _wav(self, file: BinaryIO) -> LiveAudio:
        """Read the headers of a WAV file, and note where its sound is."""
        audio = None
        file.seek(len(b"RIFF....WAVE"))
        while True:
            name, size = struct.unpack("<4sI", file.read(8))
            if name == b"data" and audio is not None:
                self._from = file.tell()
                self._bytes = min(
                    size or self._bytes, self._bytes - self._from
                )  # a program that streams writes no size
                return audio
            begin = file.tell()
            if name == b"fmt ":
                body = file.read(min(size, _HEAD_BYTES))
                tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
                tag = struct.unpack_from("<H", body, 24)[0] if tag == _EXTENSIBLE else tag
                audio = LiveAudio(codec=_WAV_CODECS[tag, bits], sample_rate=rate, channels=channels)
            file.seek(begin + size + size % 2)

    async def _bytes_in_a_second(self) -> float:
        if self.audio.codec is not Codec.OPUS:
            sample = 2 if self.audio.codec is Codec.PCM_S16LE else 1
            return self.audio.sample_rate * self.audio.channels * sample
        seconds = await length(self._path)
        return self._bytes / seconds if seconds else _OPUS_BYTES_IN_A_SECOND


def _opus(head: bytes) -> LiveAudio:
    """Read the header of Opus, which stands near the beginning of Ogg and WebM files."""
    if not head.startswith((b"OggS", b"\x1aE\xdf\xa3")) or (found := head.find(b"OpusHead")) < 0:
        raise LookupError
    return LiveAudio(codec=Codec.OPUS, sample_rate=_OPUS_RATE_HZ, channels=head[found + 9])


def conversion_hint(url: str) -> str:
    """Return a sentence: how to send the sound of a url by ffmpeg."""
    converted = f"ffmpeg -loglevel error -re -i {shlex.quote(url)} -f s16le -ac 1 -ar 16000 -"
    return f"`{converted} | {command()} live -` sends anything that ffmpeg reads"
