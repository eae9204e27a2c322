"""Files that are decoded for live audio: by PyAV, or not at all."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import typer
from natscribe.cli.decoding import from_file
from natscribe.client import ClientError

from tests.unit.engines.opus_files import hum, recorded

RATE_HZ = 16_000
SECONDS = 2


async def played(path: Path, speed: float = 100) -> bytes:
    return b"".join([chunk async for chunk in await from_file(path, speed)])


@pytest.mark.parametrize(("kind", "codec"), [("mp3", "libmp3lame"), ("flac", "flac"), ("matroska", "aac")])
async def test_a_recording_is_decoded_to_one_channel_of_16_khz(tmp_path: Path, kind: str, codec: str) -> None:
    # Given a recording with two channels of 48 kHz
    file = tmp_path / "a call: one.bin"
    file.write_bytes(recorded(kind, hum(SECONDS, 2), codec=codec))
    # When it is played
    samples = np.frombuffer(await played(file), np.int16)
    # Then its audio has one channel of 16 kHz
    assert len(samples) / RATE_HZ == pytest.approx(SECONDS, abs=0.1)
    assert np.abs(samples).max() > 1000


async def test_a_file_whose_format_changes_is_played_to_its_end(tmp_path: Path) -> None:
    # Given a recording with two channels, followed by one with a single channel
    parts = [recorded("mp3", hum(SECONDS, channels), codec="libmp3lame") for channels in (2, 1)]
    (tmp_path / "call.mp3").write_bytes(b"".join(parts))
    # When it is played, then both are decoded
    samples = np.frombuffer(await played(tmp_path / "call.mp3"), np.int16)
    assert len(samples) / RATE_HZ == pytest.approx(2 * SECONDS, abs=0.2)
    assert np.abs(samples[-RATE_HZ:]).max() > 1000


async def test_a_file_without_audio_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "call.mp3"
    file.write_bytes(b"no audio" * 100)
    with pytest.raises(ClientError, match=r"^call.mp3 cannot be read \(Invalid data.*\): check whether a player"):
        await played(file)


async def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    # Given a video of one picture
    with av.open(str(tmp_path / "silent.mkv"), "w") as container:
        pictures = container.add_stream("mpeg4", rate=1)
        pictures.width = pictures.height = 16
        container.mux([*pictures.encode(av.VideoFrame(16, 16, "yuv420p")), *pictures.encode(None)])
    with pytest.raises(ClientError, match=r"^silent.mkv has no audio: check whether a player"):
        await played(tmp_path / "silent.mkv")


@pytest.mark.parametrize("name", ["ffconcat version 1.0\nfile secret.mp3\n", "#EXTM3U\n#EXTINF:2,\nsecret.mp3\n"])
async def test_a_file_that_refers_to_another_file_is_refused(tmp_path: Path, name: str) -> None:
    # Given a recording, and a playlist that refers to it
    (tmp_path / "secret.mp3").write_bytes(recorded("mp3", hum(SECONDS), codec="libmp3lame"))
    file = tmp_path / "call.m3u8"
    file.write_text(name)
    # When the playlist is played, then nothing of the recording is sent
    with pytest.raises(ClientError, match=r"^call.m3u8 cannot be read"):
        await played(file)


async def test_a_missing_decoder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    why = r"^to play call.mp3, install PyAV \(pip install av\); without it, `ffmpeg .* -i \S*call.mp3 .* live -`"
    with pytest.raises(typer.BadParameter, match=why):
        await played(tmp_path / "call.mp3")
