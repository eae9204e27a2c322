"""Files as live audio: which can be sent without decoding, and which cannot."""

import asyncio
import gc
import os
import struct
import threading
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from natscribe.cli.audio_input import AudioFile, OtherFormatError, after_first, read_in_thread, samples
from natscribe.cli.folders import existing_file
from natscribe.client import ClientError
from natscribe.schemas.live import Codec, LiveAudio

AUDIO = bytes(range(256)) * 40


def wav(tag: int, bits: int, *, rate: int = 8000, channels: int = 1, size: int | None = None) -> bytes:
    """A WAV file with another chunk before its samples, and one after them."""
    frame = channels * bits // 8
    format_chunk = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    if tag == 0xFFFE:
        format_chunk += struct.pack("<HHIH", 22, bits, 0, 1) + bytes(14)
    chunks = [(b"fmt ", format_chunk), (b"note", b"odd"), (b"data", AUDIO), (b"LIST", b"no audio")]
    body = b"".join(
        name + struct.pack("<I", len(of) if name != b"data" or size is None else size) + of + bytes(len(of) % 2)
        for name, of in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


OPUS_HEAD = b"OpusHead" + struct.pack("<BBHIhB", 1, 2, 312, 16_000, 0, 0)
FILES = {
    "16 bits": (wav(1, 16, rate=44_100, channels=2), LiveAudio(sample_rate=44_100, channels=2)),
    "extensible": (wav(0xFFFE, 16), LiveAudio(sample_rate=8000)),
    "mu-law": (wav(7, 8), LiveAudio(codec=Codec.MULAW, sample_rate=8000)),
    "A-law": (wav(6, 8, channels=2), LiveAudio(codec=Codec.ALAW, sample_rate=8000, channels=2)),
    "Ogg": (b"OggS" + bytes(24) + OPUS_HEAD, LiveAudio(codec=Codec.OPUS, sample_rate=48_000, channels=2)),
    "WebM": (b"\x1aE\xdf\xa3" + bytes(200) + OPUS_HEAD, LiveAudio(codec=Codec.OPUS, sample_rate=48_000, channels=2)),
}
OTHERS = {
    "24 bits": wav(1, 24),
    "floats": wav(3, 32),
    "three channels": wav(1, 16, channels=3),
    "a high rate": wav(1, 16, rate=96_000),
    "cut off": wav(1, 16)[:30],
    "no WAV": b"RIFF" + bytes(60),
    "a film with the chunks of a WAV": wav(1, 16).replace(b"WAVE", b"AVI "),
    "Vorbis": b"OggS" + bytes(24) + b"\x01vorbis",
    "mp3": b"ID3" + bytes(100),
}


@pytest.mark.parametrize("head", [wav(1, 16), b"fLaC", b"OggS", b"ID3\x04", b"\x1aE\xdf\xa3", bytes(4) + b"ftypM4A "])
def test_samples_with_a_file_header_are_refused(head: bytes) -> None:
    with pytest.raises(ClientError, match=r"`natscribe live FILE` plays files, `natscribe live - --codec opus`"):
        list(samples([head, AUDIO]))
    # But only at their start
    assert list(samples([AUDIO, head])) == [AUDIO, head]


@pytest.mark.parametrize(("content", "audio"), FILES.values(), ids=FILES)
async def test_a_supported_file_is_sent_unchanged(tmp_path: Path, content: bytes, audio: LiveAudio) -> None:
    file = tmp_path / "call.bin"
    file.write_bytes(content)
    # When it is played, at a hundred times real time
    audio_file = AudioFile(file)
    played = b"".join([chunk async for chunk in audio_file.chunks(100)])
    # Then its format is detected, and exactly its samples are sent
    assert audio_file.audio == audio
    assert played == (content if audio.codec is Codec.OPUS else AUDIO)


async def test_a_wav_file_without_a_size_is_played_to_its_end(tmp_path: Path) -> None:
    for size in (0, 2**32 - 1):
        file = tmp_path / "call.wav"
        file.write_bytes(wav(1, 16, size=size))
        played = b"".join([chunk async for chunk in AudioFile(file).chunks(100)])
        assert played.startswith(AUDIO)


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_other_files_need_decoding(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a call.mp3"
    file.write_bytes(content)
    with pytest.raises(OtherFormatError):
        AudioFile(file)


def test_other_chunks_are_not_read_into_memory(tmp_path: Path) -> None:
    # Given a file with a sparse chunk of a gigabyte before its samples
    other, content = 2**30, wav(1, 16)
    start = content.index(b"note")
    with (tmp_path / "call.wav").open("wb") as file:
        file.write(content[:start] + b"note" + struct.pack("<I", other))
        file.seek(other, os.SEEK_CUR)
        file.write(content[content.index(b"data") :])
    # When its headers are read
    tracemalloc.start()
    audio_file = AudioFile(tmp_path / "call.wav")
    max_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Then the chunk is skipped
    assert audio_file.audio == LiveAudio(sample_rate=8000)
    assert max_bytes < 2**20


@pytest.mark.parametrize(("name", "why"), [("nothing.wav", "no file"), ("", "is a folder")])
def test_a_missing_file_is_refused(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(typer.BadParameter, match=why):
        existing_file(str(tmp_path / name), 10**6)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("the microphone is gone"), "the microphone is gone"),
        (RuntimeError("no decoder"), "no decoder"),
        (MemoryError(), "MemoryError"),
        (ClientError("radio cannot be read"), "^radio cannot be read$"),
    ],
)
async def test_audio_that_breaks_off_ends_with_an_error(error: Exception, message: str) -> None:
    def chunks() -> Iterator[bytes]:
        yield AUDIO
        raise error

    audio = read_in_thread(chunks())
    # When it is read, then the error follows the audio before it
    assert await anext(audio) == AUDIO
    with pytest.raises(ClientError, match=message):
        await asyncio.wait_for(anext(audio), 10)


async def test_cancelling_the_wait_for_the_first_chunk_ends_the_reading() -> None:
    # Given a command that waits for the first chunk of audio, which does not arrive
    ended, is_read = threading.Event(), asyncio.Event()
    loop, others = asyncio.get_running_loop(), asyncio.all_tasks()

    def chunks() -> Iterator[bytes]:
        loop.call_soon_threadsafe(is_read.set)
        ended.wait(30)
        yield AUDIO

    waiting = asyncio.create_task(after_first(chunks()))
    await asyncio.wait_for(is_read.wait(), 10)
    # When it is interrupted
    waiting.cancel()
    await asyncio.wait([waiting], timeout=10)
    # Then it ends at once, and no task remains
    assert (waiting.cancelled(), asyncio.all_tasks()) == (True, others)
    ended.set()


def test_input_that_arrives_after_the_command_has_ended_causes_no_warning() -> None:
    # Given a command that ends while a thread waits for more audio
    more = threading.Event()

    def chunks() -> Iterator[bytes]:
        yield AUDIO
        more.wait(10)
        yield AUDIO

    async def command() -> None:
        assert await anext(read_in_thread(chunks())) == AUDIO

    before = set(threading.enumerate())
    asyncio.run(command())
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        # When more audio arrives
        more.set()
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
        gc.collect()
    # Then the person who ran the command sees nothing of it
    assert [str(warning.message) for warning in warned] == []
