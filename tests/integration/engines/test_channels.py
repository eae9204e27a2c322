"""Whether the channels of real recordings carry different speech, and the chunks that are processed for it."""

from pathlib import Path

import numpy as np
import pytest

from app.engines.audio.channels import channels_differ
from app.engines.audio.decoding import probe
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.mixing import SAMPLE_RATE
from tests.audio import CLIPS, NO_LIMIT, Samples, load, silence, tone, write, write_channels

CALL = Path(__file__).parents[2] / "recordings" / "speech" / "two-channels.flac"
CODECS = [
    ("call.wav", "pcm_s16le", 8_000),
    ("call.flac", "flac", 44_100),
    ("call.mp3", "libmp3lame", 44_100),
    ("call.m4a", "aac", 44_100),
    ("call.aac", "aac", 44_100),
    ("call.ogg", "libopus", 48_000),
    ("call.webm", "libopus", 48_000),
    ("call.mkv", "aac", 44_100),
]
by_codec = pytest.mark.parametrize(("name", "codec", "rate"), CODECS, ids=[name for name, *_ in CODECS])
by_kind_of_codec = pytest.mark.parametrize(  # without loss, with loss, and with loss from the start on
    ("name", "codec", "rate"), [CODECS[0], CODECS[2], CODECS[6]], ids=["wav", "mp3", "opus"]
)


def differ(path: Path) -> bool:
    budget = Budget(NO_LIMIT)
    return channels_differ(path, budget, *probe(path, budget))


def in_turns() -> tuple[Samples, Samples]:
    """Two sides of a call: each reads while the other one is silent."""
    one, other = load(CLIPS[0]), load(CLIPS[1])
    return np.concatenate([one, np.zeros_like(other)]), np.concatenate([np.zeros_like(one), other])


def test_two_people_who_speak_at_the_same_time_differ() -> None:
    assert differ(CALL)


@by_codec
def test_the_sides_of_a_call_differ_in_every_format(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    assert differ(write_channels(tmp_path / name, in_turns(), codec, rate=rate))


@by_kind_of_codec
def test_the_same_audio_in_both_channels_does_not_differ(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    one = load(CLIPS[0])
    assert not differ(write_channels(tmp_path / name, [one, 0.5 * one], codec, rate=rate))


@by_kind_of_codec
def test_a_room_with_two_microphones_does_not_differ(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    # Given two people of whom each microphone records one 10 dB louder than the other one, and later
    one, other = in_turns()
    late = round(0.006 * SAMPLE_RATE)
    channels = [one + 0.3 * np.roll(other, late), other + 0.3 * np.roll(one, late)]
    # Then both channels have the same speech
    assert not differ(write_channels(tmp_path / name, channels, codec, rate=rate))


@pytest.mark.parametrize("other", ["silence", "noise", "tone"])
def test_a_channel_without_speech_is_no_side(tmp_path: Path, other: str) -> None:
    one = load(CLIPS[0])
    seconds = len(one) / SAMPLE_RATE
    noise = np.random.default_rng(1).normal(0, 0.01, len(one)).astype(np.float32)
    channel = {"silence": silence(seconds), "noise": noise, "tone": tone(seconds, 425)}[other][: len(one)]
    assert not differ(write_channels(tmp_path / "call.flac", [one, channel], "flac"))


@pytest.mark.parametrize(
    ("name", "codec"), [("call.mp3", "libmp3lame"), ("call.flac", "flac"), ("call.ogg", "libopus")]
)
def test_damage_spoils_no_probe_but_its_own(tmp_path: Path, name: str, codec: str) -> None:
    # Given a call whose second half is overwritten
    path = write_channels(tmp_path / name, [np.tile(side, 3) for side in in_turns()], codec, rate=48_000)
    seconds, channels = probe(path, Budget(NO_LIMIT))
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + len(content) // 3] = np.random.default_rng(3).bytes(len(content) // 3)
    path.write_bytes(content)
    # When its channels are compared, then the first half decides
    assert channels_differ(path, Budget(NO_LIMIT), seconds, channels)


def test_reading_chunks_takes_time_from_the_budget(tmp_path: Path) -> None:
    # Given a recording and no time left to read it, when its channels are compared, then the setting is named
    path = write(tmp_path / "call.flac", tone(20), "flac", layout="stereo")
    with pytest.raises(Exception, match="AUDIO_MAX_DECODE_SECONDS"):
        channels_differ(path, Budget(Limit(3600, "AUDIO_MAX_SECONDS", decode_seconds=0)), 20, 2)
