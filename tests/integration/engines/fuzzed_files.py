"""Recordings in many containers, damaged at random: the same seed and number always give the same file."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from natscribe.schemas.live import Codec, LiveAudio

from app.engines.audio.mixing import SAMPLE_RATE
from tests.audio import CLIPS, load, write, write_film

CONTAINERS = {
    "wav": "pcm_s16le",
    "aiff": "pcm_s16be",
    "au": "pcm_mulaw",
    "flac": "flac",
    "mp3": "libmp3lame",
    "aac": "aac",
    "m4a": "aac",
    "ts": "aac",
    "mka": "flac",
    "webm": "libopus",
    "ogg": "libopus",
    "avi": "libmp3lame",
    "mpg": "mp2",
    "caf": "pcm_s16le",
}
LAYOUTS = ("mono", "stereo", "5.1")
RATES = (48_000, 16_000, 44_100)
SECONDS = 3
_EXTREMES = (b"\0", b"\x7f", b"\x80", b"\xff", bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
_HEADER = 512  # bytes, where damage does most


def fuzzed(seed: int, number: int) -> tuple[str, bytes]:
    """The name and the content of a damaged recording."""
    random = Random(f"{seed} {number}")  # noqa: S311 -- no secret
    suffix = list(CONTAINERS)[number % len(CONTAINERS)]
    content = bytearray(_whole(suffix, random.choice(LAYOUTS), random.choice(RATES)))
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        random.choice(_DAMAGES)(content, random)
    return f"{seed}-{number}.{suffix}", bytes(content)


@cache
def _whole(suffix: str, layout: str, rate: int) -> bytes:
    samples = load(CLIPS[0])[: SECONDS * SAMPLE_RATE]
    rate = 48_000 if CONTAINERS[suffix] == "libopus" else rate
    layout = "stereo" if layout == "5.1" and CONTAINERS[suffix] in {"libmp3lame", "mp2"} else layout
    with TemporaryDirectory() as folder:
        path = Path(folder, f"whole.{suffix}")
        if suffix == "m4a" and layout == "5.1":
            return write_film(path, samples).read_bytes()
        return write(path, samples, CONTAINERS[suffix], rate=rate, layout=layout).read_bytes()


def _place(content: bytearray, random: Random) -> int:
    return random.randrange(min(len(content), random.choice((_HEADER, len(content)))) or 1)


def _flip_bits(content: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 8, 64))):
        if content:
            content[_place(content, random)] ^= 1 << random.randrange(8)


def _write_extreme(content: bytearray, random: Random) -> None:
    offset, value = _place(content, random), random.choice(_EXTREMES)
    content[offset : offset + len(value)] = value


def _overwrite(content: bytearray, random: Random) -> None:
    offset, size = _place(content, random), random.choice((4, 64, 4096))
    content[offset : offset + size] = random.randbytes(size)


def _cut_out(content: bytearray, random: Random) -> None:
    offset = _place(content, random)
    del content[offset : offset + random.choice((1, 7, 188, 3000))]


def _repeat(content: bytearray, random: Random) -> None:
    offset = _place(content, random)
    content[offset:offset] = content[offset : offset + random.choice((1, 50, 5000))]


def _cut_short(content: bytearray, random: Random) -> None:
    del content[_place(content, random) :]


def _append_another(content: bytearray, random: Random) -> None:
    suffix = random.choice(list(CONTAINERS))
    content += _whole(suffix, random.choice(LAYOUTS), random.choice(RATES))


_DAMAGES: Sequence[Callable[[bytearray, Random], None]] = (
    _flip_bits,
    _flip_bits,
    _write_extreme,
    _write_extreme,
    _overwrite,
    _cut_out,
    _repeat,
    _cut_short,
    _append_another,
)


def fuzzed_live(seed: int, number: int) -> tuple[LiveAudio, list[str]]:
    """What a live task says of its audio, and the pieces of a damaged file of Opus, in base64."""
    random = Random(f"live {seed} {number}")  # noqa: S311 -- no secret
    suffix, layout = random.choice(("ogg", "webm")), random.choice(("mono", "stereo"))
    content = bytearray(_whole(suffix, layout, 48_000))
    for _ in range(random.choice((1, 2, 8))):
        random.choice(_DAMAGES)(content, random)
    size = random.choice((500, 4000, 32_000))
    pieces = [b64encode(content[begin : begin + size]).decode() for begin in range(0, len(content), size)]
    return LiveAudio(codec=Codec.OPUS, sample_rate=48_000, channels=1 if layout == "mono" else 2), pieces or [""]
