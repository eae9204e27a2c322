"""Files as live sound: what can be sent as it is, and what cannot."""

import asyncio
import os
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from natscribe.cli.audio_input import AudioFile, OtherFormatError, existing_file, read_in_thread, samples
from natscribe.client import ClientError
from natscribe.schemas.live import Codec, LiveAudio

SOUND = bytes(range(256)) * 40


def wav(tag: int, bits: int, *, rate: int = 8000, channels: int = 1, size: int | None = None) -> bytes:
    """A WAV file with a chunk of something else before its sound, and one behind it."""
    frame = channels * bits // 8
    described = struct.pack("<HHIIHH", tag, channels, rate, rate * frame, frame, bits)
    if tag == 0xFFFE:
        described += struct.pack("<HHIH", 22, bits, 0, 1) + bytes(14)
    chunks = [(b"fmt ", described), (b"note", b"odd"), (b"data", SOUND), (b"LIST", b"not sound")]
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
def test_a_file_is_no_samples(head: bytes) -> None:
    # When a file comes where samples should, then people are told what to type
    with pytest.raises(ClientError, match=r"`natscribe live FILE` plays files, `natscribe live - --codec opus`"):
        list(samples([head, SOUND]))
    # And samples are anything else, whatever comes later
    assert list(samples([SOUND, head])) == [SOUND, head]


@pytest.mark.parametrize("name", FILES)
async def test_a_file_is_sent_as_it_is(tmp_path: Path, name: str) -> None:
    # Given a file
    content, audio = FILES[name]
    file = tmp_path / "call.bin"
    file.write_bytes(content)
    # When it is played, a hundred times as fast
    sound = AudioFile(file)
    played = b"".join([chunk async for chunk in sound.chunks(100)])
    # Then the task says what it is, and no byte more or less is sent
    assert sound.audio == audio
    assert played == (content if audio.codec is Codec.OPUS else SOUND)


async def test_a_program_that_streams_writes_no_size(tmp_path: Path) -> None:
    for size in (0, 2**32 - 1):
        file = tmp_path / "call.wav"
        file.write_bytes(wav(1, 16, size=size))
        played = b"".join([chunk async for chunk in AudioFile(file).chunks(100)])
        assert played.startswith(SOUND)


@pytest.mark.parametrize("name", OTHERS)
def test_anything_else_is_not(tmp_path: Path, name: str) -> None:
    file = tmp_path / "a call.mp3"
    file.write_bytes(OTHERS[name])
    with pytest.raises(OtherFormatError):
        AudioFile(file)


def test_what_is_not_sound_is_not_read_into_memory(tmp_path: Path) -> None:
    # Given a file with a gigabyte of something else before its sound, which takes no room on the disk
    other, content = 2**30, wav(1, 16)
    sound = content.index(b"note")
    with (tmp_path / "call.wav").open("wb") as file:
        file.write(content[:sound] + b"note" + struct.pack("<I", other))
        file.seek(other, os.SEEK_CUR)
        file.write(content[content.index(b"data") :])
    # When it is looked into
    tracemalloc.start()
    found = AudioFile(tmp_path / "call.wav")
    most_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Then its sound is found, and the rest was not kept
    assert found.audio == LiveAudio(sample_rate=8000)
    assert most_bytes < 2**20


@pytest.mark.parametrize(("name", "why"), [("nothing.wav", "no file"), ("", "is a folder")])
def test_what_is_no_file_is_told(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(typer.BadParameter, match=why):
        existing_file(str(tmp_path / name), 10**6)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("the microphone is gone"), "the microphone is gone"),
        (RuntimeError("no decoder"), "no decoder"),
        (MemoryError(), "MemoryError"),
        (ClientError("radio cannot be read"), "^radio cannot be read$"),
    ],
)
async def test_sound_that_cannot_be_read_on_ends_with_an_error(error: Exception, told: str) -> None:
    # Given sound that breaks off with an error
    def chunks() -> Iterator[bytes]:
        yield SOUND
        raise error

    sound = read_in_thread(chunks())
    # When it is read, then what came is there, and people learn why it ends
    assert await anext(sound) == SOUND
    with pytest.raises(ClientError, match=told):
        await asyncio.wait_for(anext(sound), 10)
