"""Files that are decoded for live audio: by PyAV, by ffmpeg, or not at all."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from natscribe.cli.decoding import from_file
from natscribe.client import ClientError

from tests.unit.engines.opus_files import hum, recorded

RATE_HZ = 16_000
SECONDS = 2
# A fake ffmpeg: it stores its arguments, and ends as the name of the file says, with messages of ffmpeg.
FFMPEG = """#!/bin/sh
echo "$@" > called
case "$*" in
*whole*) head -c 64000 /dev/zero; exit 0 ;;
*half*) head -c 32000 /dev/zero; echo "[matroska,webm @ 0x55d0c0] File ended prematurely at pos. 32000" >&2
    echo "[in#0/matroska,webm @ 0x55d0c8] Error during demuxing: Input/output error" >&2 ;;
*silent*) cat >&2 <<END
[out#0/s16le @ 0x55d0c0] Stream map '0:a:0' matches no streams.
To ignore this, add a trailing '?' to the map.
Failed to set value '0:a:0' for option 'map': Invalid argument
Error parsing options for output file -.
Error opening output files: Invalid argument
END
;;
*) cat >&2 <<END
[in#0 @ 0x55d0c0] Error opening input: Invalid data found when processing input
Error opening input file file:call.mp3.
Error opening input files: Invalid data found when processing input
END
;;
esac
exit 1
"""


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the fake ffmpeg and hide PyAV; returns the file of ffmpeg's arguments."""
    program = tmp_path / "bin/ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG)
    program.chmod(0o755)
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "called"


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


@pytest.mark.parametrize("name", ["ffconcat version 1.0\nfile secret.mp3\n", "#EXTM3U\n#EXTINF:2,\nsecret.mp3\n"])
async def test_a_file_that_refers_to_another_file_is_refused(tmp_path: Path, name: str) -> None:
    # Given a recording, and a playlist that refers to it
    (tmp_path / "secret.mp3").write_bytes(recorded("mp3", hum(SECONDS), codec="libmp3lame"))
    file = tmp_path / "call.m3u8"
    file.write_text(name)
    # When the playlist is played, then nothing of the recording is sent
    with pytest.raises(ClientError, match=r"^call.m3u8 cannot be read"):
        await played(file)


async def test_ffmpeg_decodes_where_pyav_is_not_installed(tmp_path: Path, ffmpeg: Path) -> None:
    # When a file is played
    audio = await played(tmp_path / "whole call.mp3")
    # Then its samples are those that ffmpeg writes, with the options for the default format
    assert len(audio) == SECONDS * 2 * RATE_HZ
    called = ffmpeg.read_text()
    assert f"-i file:{tmp_path}/whole call.mp3" in called
    assert "-f s16le -ac 1 -ar 16000 -" in called
    # And ffmpeg opens only the file itself, as a service does
    assert called.index("-protocol_whitelist file -format_whitelist 3gp,") < called.index("-i file:")


async def test_errors_of_ffmpeg_are_reported(tmp_path: Path, ffmpeg: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # When a file cannot be read, then the error has ffmpeg's first message
    why = "Error opening input: Invalid data found when processing input"
    with pytest.raises(ClientError, match=rf"^call.mp3 cannot be read \({why}\): check whether"):
        await played(tmp_path / "call.mp3")
    with pytest.raises(ClientError, match=r"^silent.mp4 has no audio: check whether"):
        await played(tmp_path / "silent.mp4")
    # And when a file breaks off, then a warning follows its audio
    assert len(await played(tmp_path / "half.mp3")) == 2 * RATE_HZ
    warning = "half.mp3 broke off (File ended prematurely at pos. 32000): the audio ends here."
    assert warning in capsys.readouterr().err


async def test_a_missing_decoder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(typer.BadParameter, match=r"^to play call.mp3, install ffmpeg, or PyAV \(pip install av\)"):
        await played(tmp_path / "call.mp3")
