"""Reads the audio of live tasks: standard input as it arrives, or a file in real time."""

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

from pydantic import ValidationError

from natscribe.cli.console import require
from natscribe.client import ClientError, command
from natscribe.client.recordings import recording_duration
from natscribe.schemas.live import Codec, LiveAudio

STANDARD_INPUT = "-"
CHUNK_S = 0.1
_CHECK_WITHIN_S = 1.0
_READ_BYTES = 65_536
_BUFFERED_CHUNKS = 4096  # during an outage of NATS: eight minutes of what `arecord` writes
_HEADER_BYTES = 4096
_OPUS_RATE_HZ = 48_000  # of every decoder
_OPUS_BYTES_PER_S = 6000  # if the duration of the file is unknown
_WAV_CODECS = {(1, 16): Codec.PCM_S16LE, (6, 8): Codec.ALAW, (7, 8): Codec.MULAW}  # by format tag and bits per sample
_FILE_SIGNATURES = b"RIFF", b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"\x1aE\xdf\xa3"
_EXTENSIBLE = 0xFFFE  # the format tag of WAV files whose codec is in a later field


class OtherFormatError(Exception):
    """The format of an audio file is not accepted by live tasks, so the file has to be decoded first."""


def check_input() -> None:
    """Check that standard input is a pipe or a file, not a terminal, so that audio can be read from it.

    Raises:
        typer.BadParameter: Standard input is a terminal.
    """
    example = f"arecord -f S16_LE -r 16000 -c 1 -t raw | {command()} live -"
    require(not sys.stdin.isatty(), f"standard input is a terminal: send audio to it, as in `{example}`")


async def from_input(codec: Codec) -> AsyncIterator[bytes]:
    """Return an iterator over the chunks of audio that arrive on standard input, encoded as `codec`.

    The function waits up to _CHECK_WITHIN_S seconds for the first chunk, so that most errors are raised before the
    caller submits a task.

    Raises:
        ClientError: `codec` requires raw samples, but the audio starts with the header of a file. If the first chunk
            arrives later, the iterator raises this error, not the function.
    """
    chunks = iter(lambda: os.read(sys.stdin.fileno(), _READ_BYTES), b"")
    return await after_first(chunks if codec is Codec.OPUS else samples(chunks), timeout=_CHECK_WITHIN_S)


async def after_first(chunks: Iterable[bytes], *, timeout: float | None = None) -> AsyncIterator[bytes]:
    """Read a blocking iterable in a thread; wait for its first chunk, and return an iterator over all chunks.

    `timeout`: the function waits at most this number of seconds; None: without a limit.

    Raises:
        ClientError: Reading the first chunk has failed. If another chunk fails, or the first one after the timeout, the
            iterator raises this error.
    """
    audio = read_in_thread(chunks)
    first = asyncio.ensure_future(anext(audio, b""))
    try:
        await asyncio.wait([first], timeout=timeout)
    except asyncio.CancelledError:  # as by Ctrl-C: `wait` does not cancel what it waits for
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        raise
    if first.done():
        first.result()
    return _with_first(first, audio)


async def _with_first(first: "asyncio.Future[bytes]", audio: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunk that the future `first` delivers, unless it is empty, and then the chunks of `audio`."""
    if chunk := await first:
        yield chunk
    async for chunk in audio:
        yield chunk


def samples(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield `chunks` unchanged, but check that the first one contains raw samples and not the header of a file.

    Raises:
        ClientError: The audio starts with the header of a file.
    """
    for number, chunk in enumerate(chunks):
        if not number and (chunk.startswith(_FILE_SIGNATURES) or chunk[4:8] == b"ftyp"):
            here = f"{command()} live"
            what = "Standard input is a file"
            raise ClientError(what, f"`{here} FILE` plays files, `{here} - --codec opus` reads Opus")
        yield chunk


async def read_in_thread(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks of a blocking iterable, which a thread reads into a buffer of up to _BUFFERED_CHUNKS chunks.

    Raises:
        ClientError: The iterable has raised an exception.
    """
    loop = asyncio.get_running_loop()
    buffer: asyncio.Queue[bytes | ClientError | None] = asyncio.Queue()
    room = threading.Semaphore(_BUFFERED_CHUNKS)

    def put(chunk: bytes | ClientError | None) -> None:
        room.acquire()  # the consumer releases it
        loop.call_soon_threadsafe(buffer.put_nowait, chunk)

    def read() -> None:
        end = None
        try:
            for chunk in chunks:
                put(chunk)
        except ClientError as error:
            end = error
        except Exception as error:  # noqa: BLE001 -- whatever it is, the command must not wait for ever
            end = ClientError(f"Reading the audio has failed ({str(error) or type(error).__name__})", "it ends here")
        with suppress(RuntimeError):  # the command has ended
            put(end)

    threading.Thread(target=read, daemon=True).start()  # a blocked read must not keep the command alive
    while (chunk := await buffer.get()) is not None:
        room.release()
        if isinstance(chunk, ClientError):
            raise chunk
        yield chunk


async def paced(chunks: AsyncIterator[bytes], speed: float) -> AsyncIterator[bytes]:
    """Yield `chunks`, each with CHUNK_S seconds of audio, at `speed` times real time."""
    loop = asyncio.get_running_loop()
    started, sent = loop.time(), 0
    async for chunk in chunks:
        yield chunk
        sent += 1
        await asyncio.sleep(started + sent * CHUNK_S / speed - loop.time())


class AudioFile:
    """An audio file in a format that live tasks accept, which the command sends without decoding it.

    The format is WAV (with 16-bit, mu-law or A-law samples) or Opus (in Ogg or WebM).
    """

    def __init__(self, path: Path) -> None:
        """Read the header of the file.

        Raises:
            OtherFormatError: Live tasks do not accept the format of the file.
        """
        self._path = path
        self._start, self._size = 0, path.stat().st_size
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            try:
                is_wav = (header[:4], header[8:12]) == (b"RIFF", b"WAVE")
                self.audio = self._read_wav(file) if is_wav else _opus(header)
            except (LookupError, struct.error, ValidationError) as error:
                raise OtherFormatError from error

    def chunks(self, speed: float) -> AsyncIterator[bytes]:
        """Yield the encoded audio in chunks of CHUNK_S seconds, at `speed` times real time."""
        return paced(self._chunks(), speed)

    async def _chunks(self) -> AsyncIterator[bytes]:
        size, left = max(int(await self._bytes_per_s() * CHUNK_S), 1), self._size
        with self._path.open("rb") as file:
            file.seek(self._start)
            while chunk := file.read(min(size, left)):
                yield chunk
                left -= len(chunk)

    def _read_wav(self, file: BinaryIO) -> LiveAudio:
        """Parse the headers of a WAV file; return its audio format, and store the offset and size of its samples."""
        audio = None
        file.seek(len(b"RIFF....WAVE"))
        while True:
            name, size = struct.unpack("<4sI", file.read(8))
            start = file.tell()
            if name == b"data" and audio is not None:
                size = size or self._size  # a program that streams writes no size
                self._start, self._size = start, min(size, self._size - start)
                return audio
            if name == b"fmt ":
                body = file.read(min(size, _HEADER_BYTES))
                tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
                tag = struct.unpack_from("<H", body, 24)[0] if tag == _EXTENSIBLE else tag
                audio = LiveAudio(codec=_WAV_CODECS[tag, bits], sample_rate=rate, channels=channels)
            file.seek(start + size + size % 2)

    async def _bytes_per_s(self) -> float:
        if self.audio.codec is not Codec.OPUS:
            return self.audio.sample_rate * self.audio.sample_bytes
        seconds = await recording_duration(self._path)
        return self._size / seconds if seconds else _OPUS_BYTES_PER_S


def _opus(header: bytes) -> LiveAudio:
    """Return the audio format of an Opus file; `header` is the first bytes of the Ogg or WebM file.

    Raises:
        LookupError: The bytes contain no Opus header.
    """
    if not header.startswith((b"OggS", b"\x1aE\xdf\xa3")) or (start := header.find(b"OpusHead")) < 0:
        raise LookupError
    return LiveAudio(codec=Codec.OPUS, sample_rate=_OPUS_RATE_HZ, channels=header[start + 9])


def conversion_hint(source: str) -> str:
    """Return a sentence for error messages: how to pipe a file or URL from ffmpeg into `natscribe live`."""
    converted = f"ffmpeg -loglevel error -re -i {shlex.quote(source)} -f s16le -ac 1 -ar 16000 -"
    return f"`{converted} | {command()} live -` sends anything that ffmpeg reads"
