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
# What `ffmpeg` is in these tests: it says how it was called, and ends as the file is called, with ffmpeg's words.
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


async def test_a_file_that_was_joined_from_two_is_played_to_its_end(tmp_path: Path) -> None:
    # Given a recording with two channels, to which somebody has appended one with a single channel
    parts = [recorded("mp3", hum(SECONDS, channels), codec="libmp3lame") for channels in (2, 1)]
    (tmp_path / "call.mp3").write_bytes(b"".join(parts))
    # When it is played, then the audio of both is there
    samples = np.frombuffer(await played(tmp_path / "call.mp3"), np.int16)
    assert len(samples) / RATE_HZ == pytest.approx(2 * SECONDS, abs=0.2)
    assert np.abs(samples[-RATE_HZ:]).max() > 1000


async def test_what_holds_no_sound_is_told(tmp_path: Path) -> None:
    file = tmp_path / "call.mp3"
    file.write_bytes(b"no sound" * 100)
    with pytest.raises(ClientError, match=r"^call.mp3 cannot be read \(Invalid data.*\): check whether a player"):
        await played(file)


@pytest.mark.parametrize("name", ["ffconcat version 1.0\nfile secret.mp3\n", "#EXTM3U\n#EXTINF:2,\nsecret.mp3\n"])
async def test_a_file_that_names_another_one_is_refused(tmp_path: Path, name: str) -> None:
    # Given a recording, and a file that somebody sent, which names it
    (tmp_path / "secret.mp3").write_bytes(recorded("mp3", hum(SECONDS), codec="libmp3lame"))
    file = tmp_path / "call.m3u8"
    file.write_text(name)
    # When it is played, then nothing of the recording is sent
    with pytest.raises(ClientError, match=r"^call.m3u8 cannot be read"):
        await played(file)


async def test_ffmpeg_decodes_where_pyav_is_not_installed(tmp_path: Path, ffmpeg: Path) -> None:
    # When a file is played
    sound = await played(tmp_path / "whole call.mp3")
    # Then its samples are all that ffmpeg writes, which had the options for the usual sound
    assert len(sound) == SECONDS * 2 * RATE_HZ
    called = ffmpeg.read_text()
    assert f"-i file:{tmp_path}/whole call.mp3" in called
    assert "-f s16le -ac 1 -ar 16000 -" in called
    # And it opens only the file itself, as a service does
    assert called.index("-protocol_whitelist file -format_whitelist 3gp,") < called.index("-i file:")


async def test_what_ffmpeg_cannot_read_is_told(
    tmp_path: Path, ffmpeg: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # When a file cannot be read, then ffmpeg's first words are told
    why = "Error opening input: Invalid data found when processing input"
    with pytest.raises(ClientError, match=rf"^call.mp3 cannot be read \({why}\): check whether"):
        await played(tmp_path / "call.mp3")
    # And when a film has no sound, then that is told
    with pytest.raises(ClientError, match=r"^silent.mp4 has no sound: check whether"):
        await played(tmp_path / "silent.mp4")
    # And when it breaks off, then what came is there, and that is told
    assert len(await played(tmp_path / "half.mp3")) == 2 * RATE_HZ
    assert (
        "half.mp3 has broken off (File ended prematurely at pos. 32000): the sound ends here."
        in capsys.readouterr().err
    )


async def test_what_to_install_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(typer.BadParameter, match=r"^to play call.mp3, install ffmpeg, or PyAV \(pip install av\)"):
        await played(tmp_path / "call.mp3")
