"""Files that were joined end to end, of which the parts differ in channels, sample rate or time stamps."""

from pathlib import Path

import numpy as np
import pytest

from app.engines.audio.channels import channels_differ
from app.engines.audio.crosstalk import Crosstalk
from app.engines.audio.decoding import chunks_at, decode, probe
from app.engines.audio.limits import Budget
from app.engines.audio.mixing import SAMPLE_RATE
from app.runtime.errors import PermanentError
from tests.audio import NO_LIMIT, load, strength, tone, write

PART_S = 4
Part = tuple[str, int]
JOINED: list[tuple[str, str, Part, Part]] = [
    ("mp3", "libmp3lame", ("stereo", 44_100), ("mono", 44_100)),
    ("mp3", "libmp3lame", ("stereo", 44_100), ("mono", 16_000)),
    ("mp3", "libmp3lame", ("mono", 16_000), ("stereo", 44_100)),
    ("aac", "aac", ("stereo", 44_100), ("mono", 44_100)),
    ("aac", "aac", ("5.1", 44_100), ("mono", 44_100)),
    ("aac", "aac", ("mono", 16_000), ("5.1", 44_100)),
    ("aac", "aac", ("stereo", 44_100), ("stereo", 16_000)),
    ("ts", "aac", ("stereo", 44_100), ("mono", 44_100)),
    ("ts", "aac", ("5.1", 44_100), ("mono", 16_000)),
    ("ts", "aac", ("mono", 16_000), ("stereo", 44_100)),
    ("ts", "libmp3lame", ("stereo", 44_100), ("mono", 16_000)),
    ("ogg", "libopus", ("stereo", 48_000), ("mono", 48_000)),
    ("ogg", "libopus", ("mono", 48_000), ("5.1", 48_000)),
    ("ogg", "flac", ("stereo", 44_100), ("mono", 44_100)),
]


def join(path: Path, codec: str, *parts: Part) -> Path:
    """Write a part for each layout and rate, each with a tone of its own, and join their bytes."""
    written = [
        write(path.with_stem(str(number)), tone(PART_S, 500 * number), codec, layout=layout, rate=rate).read_bytes()
        for number, (layout, rate) in enumerate(parts, start=1)
    ]
    path.write_bytes(b"".join(written))
    return path


@pytest.mark.parametrize(("kind", "codec", "first", "second"), JOINED)
def test_all_parts_are_decoded(tmp_path: Path, kind: str, codec: str, first: Part, second: Part) -> None:
    # Given two recordings that were joined with `cat`
    path = join(tmp_path / f"joined.{kind}", codec, first, second)

    # When the file is measured and decoded
    seconds, channels = probe(path, Budget(NO_LIMIT))
    samples = load(path)

    # Then it has the channels of the first part, and the audio of both
    assert channels == {"mono": 1, "stereo": 2, "5.1": 6}[first[0]]
    assert len(samples) / SAMPLE_RATE == pytest.approx(2 * PART_S, abs=0.3)
    assert kind == "aac" or seconds == pytest.approx(2 * PART_S, abs=0.3)
    assert [round(strength(samples, frequency, 1.5), 1) for frequency in (500, 1000)] == [0.3, 0.0]
    assert [round(strength(samples, frequency, PART_S + 1.5), 1) for frequency in (500, 1000)] == [0.0, 0.3]
    # And its channels can be compared, wherever the format changes
    assert not channels_differ(path, Budget(NO_LIMIT), seconds, channels)
    (compared,) = chunks_at(path, Budget(NO_LIMIT), channels, [0.0])
    assert max(strength(channel, 500, 1.5) for channel in compared) > 0.2


@pytest.mark.parametrize(("kind", "codec"), [("mp3", "libmp3lame"), ("ogg", "libopus")])
def test_a_part_with_fewer_channels_belongs_to_the_first_channel(tmp_path: Path, kind: str, codec: str) -> None:
    # Given a stereo recording whose second part has one channel
    path = join(tmp_path / f"joined.{kind}", codec, ("stereo", 48_000), ("mono", 48_000))

    # When each channel is decoded on its own, then the first one has that part, and no text is duplicated
    left, right = load(path, 0), load(path, 1)
    assert min(strength(left, 500, 1.5), strength(right, 500, 1.5), strength(left, 1000, PART_S + 1.5)) > 0.2
    assert np.abs(right[round((PART_S + 0.5) * SAMPLE_RATE) :]).max() == 0


@pytest.mark.parametrize(("kind", "codec"), [("mp3", "libmp3lame"), ("ogg", "libopus"), ("ogg", "flac")])
def test_crosstalk_is_muted_across_parts_with_other_channels(tmp_path: Path, kind: str, codec: str) -> None:
    # Given a stereo recording whose second part has one channel, so that the channels come in other pieces
    path = join(tmp_path / f"joined.{kind}", codec, ("stereo", 48_000), ("mono", 48_000))
    # When the first channel is read beside the second one, in one budget
    budget = Budget(NO_LIMIT, readers=2)
    samples = np.concatenate(list(Crosstalk(0).mute(decode(path, budget, 0), decode(path, budget, 1))))
    # Then it has the audio of both parts
    assert len(samples) == len(load(path, 0))
    assert min(strength(samples, 500, 1.5), strength(samples, 1000, PART_S + 1.5)) > 0.2


def test_a_chain_has_any_number_of_links(tmp_path: Path) -> None:
    # Given a radio programme that changes between stereo and mono again and again
    parts = [("stereo", 48_000), ("mono", 48_000)] * 5
    path = join(tmp_path / "radio.ogg", "libopus", *parts)

    # When it is decoded, then all links are there
    samples = load(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(len(parts) * PART_S, abs=0.1)
    assert strength(samples, 5000, 9 * PART_S + 1.5) > 0.2


def test_a_link_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    # Given a chained recording whose second link has a head of an unknown version
    path = join(tmp_path / "joined.ogg", "libopus", ("stereo", 48_000), ("mono", 48_000))
    content = bytearray(path.read_bytes())
    content[content.rindex(b"OpusHead") + 8] = 0xF0
    path.write_bytes(content)

    # When it is read, then it is refused: half of its audio would be missing
    for read in (lambda: probe(path, Budget(NO_LIMIT)), lambda: list(decode(path, Budget(NO_LIMIT)))):
        with pytest.raises(PermanentError, match="upload it again"):
            read()


def test_damage_between_packets_costs_what_is_damaged_alone(tmp_path: Path) -> None:
    # Given a recording whose container is damaged for less than a tenth of its length
    path = write(tmp_path / "scratched.ogg", tone(30), "flac", rate=48_000)
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + 70_000] = np.random.default_rng(3).bytes(70_000)
    path.write_bytes(content)

    # When it is decoded, then its end is at its time
    samples = load(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(30, abs=0.1)
    assert strength(samples, 440, 28) > 0.2
