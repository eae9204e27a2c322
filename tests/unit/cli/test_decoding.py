"""Files that are decoded for live sound: by PyAV, by ffmpeg, or by nothing that is here."""

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
# What `ffmpeg` is in these tests: it says how it was called, and ends as the file is called.
FFMPEG = """#!/bin/sh
echo "$@" > called
case "$*" in
*whole*) head -c 64000 /dev/zero ;;
*half*) head -c 32000 /dev/zero; echo "header damaged" >&2; exit 1 ;;
*) echo "trying" >&2; echo "Invalid data found" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a program ffmpeg and without PyAV; returns what ffmpeg was called with."""
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
async def test_any_recording_becomes_samples(tmp_path: Path, kind: str, codec: str) -> None:
    # Given a recording with two channels of 48 kHz
    file = tmp_path / "a call: one.bin"
    file.write_bytes(recorded(kind, hum(SECONDS, 2), codec=codec))
    # When it is played
    samples = np.frombuffer(await played(file), np.int16)
    # Then its sound is there in one channel of 16 kHz
    assert len(samples) / RATE_HZ == pytest.approx(SECONDS, abs=0.1)
    assert np.abs(samples).max() > 1000


async def test_what_holds_no_sound_is_told(tmp_path: Path) -> None:
    file = tmp_path / "call.mp3"
    file.write_bytes(b"no sound" * 100)
    with pytest.raises(ClientError, match=r"^call.mp3 cannot be read \(Invalid data.*\): check whether a player"):
        await played(file)


async def test_ffmpeg_decodes_where_pyav_is_not_installed(tmp_path: Path, ffmpeg: Path) -> None:
    # When a file is played
    sound = await played(tmp_path / "whole call.mp3")
    # Then its samples are all that ffmpeg writes, which had the options for the usual sound
    assert len(sound) == SECONDS * 2 * RATE_HZ
    assert f"-i file:{tmp_path}/whole call.mp3" in ffmpeg.read_text()
    assert "-f s16le -ac 1 -ar 16000 -" in ffmpeg.read_text()


async def test_what_ffmpeg_cannot_read_is_told(
    tmp_path: Path, ffmpeg: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # When a file cannot be read, then its last words are told
    with pytest.raises(ClientError, match=r"^call.mp3 cannot be read \(Invalid data found\): check whether"):
        await played(tmp_path / "call.mp3")
    # And when it breaks off, then what came is there, and that is told
    assert len(await played(tmp_path / "half.mp3")) == 2 * RATE_HZ
    assert "half.mp3 has broken off (header damaged): the sound ends here." in capsys.readouterr().err


async def test_what_to_install_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(typer.BadParameter, match=r"^to play call.mp3, install ffmpeg, or PyAV \(pip install av\)"):
        await played(tmp_path / "call.mp3")
