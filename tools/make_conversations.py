r"""Make recordings with known speakers: parameters of diarization are chosen with one half and checked with the other.

The speech comes from packages: the Debian package ``pocketsphinx-testdata`` (readings, commands), the source archive of
``pyannote.audio`` 4.0.7 (half minutes of AMI meetings, a phone call), the wheel ``moonshine-voice`` 0.0.73 (readings).
Half minutes are also written with noise before them, because their start is arbitrary. Meetings are joined. People who
never met are mixed, with pauses, overlaps, different loudness and noise. The two halves share only one speaker, of the
meetings. All random choices are seeded: the same packages give the same recordings.

    apt-get download pocketsphinx-testdata && dpkg -x pocketsphinx-testdata_*.deb testdata
    pip download --no-deps --no-binary :all: pyannote.audio==4.0.7 && tar xzf pyannote_audio-4.0.7.tar.gz
    pip download --no-deps moonshine-voice==0.0.73 && unzip -q moonshine_voice-*.whl "moonshine_voice/assets/*.wav"
    python tools/make_conversations.py --pocketsphinx testdata/usr/share/pocketsphinx/test/data \
        --pyannote pyannote_audio-4.0.7 --moonshine moonshine_voice/assets --to conversations
"""

from __future__ import annotations

import argparse
import wave
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from pyannote.core import Annotation, Segment

from app.engines.audio.decoding import decode
from app.engines.audio.limits import Budget, Limit

Samples: TypeAlias = npt.NDArray[np.float32]
Span: TypeAlias = tuple[float, float]

RATE = 16_000
FRAME = 320
DEMO = Path("app/cli/demo/two_readers.flac")
LONGEST_PIECE = 7.0  # seconds
LONGEST_MIX = 100.0  # seconds
PAUSE, CLICK = 0.3, 0.1  # seconds; speech is cut at a longer silence, a shorter sound is no speech
# Probabilities: that the speaker changes, that a speaker interrupts, that there is no long pause.
CHANGES, OVERLAPS, GOES_ON = 0.8, 0.25, 0.93
QUIET = 10 ** (-62 / 20)  # the level of faint noise
LATER = {"meetings": (1.3, 2.6), "half minutes": (0.7, 1.4, 2.1, 2.8, 3.5)}  # seconds of noise before the recordings

MEETINGS = {
    "choose": ("trn00", "trn01", "trn02", "trn03", "trn04", "trn05", "trn06"),
    "check": ("trn07", "trn08", "trn09", "dev00", "dev01", "tst00", "tst01"),
}
JOINED = {
    "choose": (("trn00", "trn01", "trn02", "trn03"), ("trn04", "trn05", "trn06"), ("trn05", "trn00", "trn03")),
    "check": (
        ("dev00", "dev01"),
        ("tst00", "tst01"),
        ("trn07", "trn08", "trn09"),
        ("dev00", "trn09", "tst00", "dev01"),
    ),
}
SPEAKERS = {
    "choose": ("librivox", "M\u00c9O069", "FEE078", "MEE068", "MEE075", "beckett"),
    "check": (*("two_cities", "commands", "FEE083", "MEE009", "MEE012", "FEE087", "FEO070", "speaker90", "speaker91"),),
}
SEEDS = {"choose": 100, "check": 200}
MIXES = 10


@dataclass(frozen=True)
class Recording:
    """A recording, and who speaks when in it."""

    samples: Samples
    truth: Annotation


@dataclass(frozen=True)
class Piece:
    """Some seconds of one speaker, and the spans of speech in them."""

    samples: Samples
    spoken: list[Span]


def load(path: Path) -> Samples:
    """Read a recording; raw files are 16-bit little-endian mono at 16 kHz."""
    if path.suffix == ".raw":
        return np.frombuffer(path.read_bytes(), "<i2").astype(np.float32) / np.float32(32768)
    return np.concatenate(list(decode(path, Budget(Limit(float("inf"), "")))))


def truths(path: Path) -> dict[str, Annotation]:
    """Read an RTTM file: the speakers of each recording that the file names."""
    found: dict[str, Annotation] = {}
    for index, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        _, name, _, start, duration, _, _, speaker, *_ = line.split()
        span = Segment(float(start), float(start) + float(duration))
        found.setdefault(name, Annotation())[span, index] = speaker
    return found


def meetings(folder: Path) -> dict[str, Recording]:
    """Read the half minutes of AMI meetings from pyannote's tests."""
    data = folder / "tests/data"
    known = [truths(data / f"debug.{part}.rttm") for part in ("train", "development", "test")]
    files = {path.stem.replace("\u00f1", "n").replace("n\u0303", "n"): path for path in data.glob("*.wav")}
    return {name: Recording(load(files[name]), truth) for part in known for name, truth in part.items()}


def joined(parts: list[Recording]) -> Recording:
    """Join recordings one after another."""
    truth, before = Annotation(), 0.0
    for part in parts:
        add(truth, part.truth, before)
        before += len(part.samples) / RATE
    return Recording(np.concatenate([part.samples for part in parts]), truth)


def later(recording: Recording, seconds: float, seed: int) -> Recording:
    """Put some seconds of faint noise before a recording."""
    noise = np.random.default_rng(seed).standard_normal(int(seconds * RATE)) * QUIET
    truth = Annotation()
    add(truth, recording.truth, seconds)
    return Recording(np.concatenate([noise.astype(np.float32), recording.samples]), truth)


def add(truth: Annotation, more: Annotation, before: float) -> None:
    """Add the turns of `more` to `truth`, each `before` seconds later."""
    for span, _, speaker in more.itertracks(yield_label=True):
        truth[Segment(span.start + before, span.end + before), len(truth)] = speaker


def speech(samples: Samples) -> list[Span]:
    """Find the spans of speech in a reading by its loudness; a pause of .3 s or more ends a span."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level = 20 * np.log10(np.sqrt((frames**2).mean(axis=1)) + 1e-6)
    quiet = np.percentile(level, 10)
    edges = np.diff(level > quiet + (level.max() - quiet) / 3, prepend=False, append=False).nonzero()[0]
    spans: list[list[float]] = []
    for start, end in edges.reshape(-1, 2) * FRAME / RATE:
        if spans and start - spans[-1][1] < PAUSE:
            spans[-1][1] = end
        else:
            spans.append([start, end])
    return [(start, end) for start, end in spans if end - start > CLICK]


def pieces_of_reading(samples: Samples) -> list[Piece]:
    """Cut a reading at its pauses into pieces of at most LONGEST_PIECE seconds, if the pauses allow it."""
    groups: list[list[Span]] = []
    for span in speech(samples):
        if not groups or span[1] - groups[-1][0][0] > LONGEST_PIECE:
            groups.append([])
        groups[-1].append(span)
    found = []
    for group in groups:
        start, end = max(0.0, group[0][0] - 0.1), min(len(samples) / RATE, group[-1][1] + 0.1)
        spoken = [(a - start, b - start) for a, b in group]
        found.append(Piece(samples[int(start * RATE) : int(end * RATE)], spoken))
    return found


def pieces_of_talk(recording: Recording) -> dict[str, list[Piece]]:
    """Cut from a conversation the pieces of a second or more in which one person speaks alone."""
    found: dict[str, list[Piece]] = {}
    both = recording.truth.get_overlap()
    for speaker in recording.truth.labels():
        for span in recording.truth.label_timeline(speaker).support().extrude(both):
            start = span.start
            while span.end - start >= 1:
                end = min(span.end, start + LONGEST_PIECE)
                end = span.end if span.end - end < 1 else end
                piece = Piece(recording.samples[int(start * RATE) : int(end * RATE)], [(0.0, end - start)])
                found.setdefault(speaker, []).append(piece)
                start = end
    return found


def mix(pieces: dict[str, list[Piece]], people: int, most: tuple[str, ...], seed: int, *, twice: bool) -> Recording:
    """Mix people who take turns, with pauses, overlaps and noise, each person at a loudness of their own."""
    random = np.random.default_rng(seed)
    names = [str(name) for name in random.choice(most, people, replace=False)]
    left = {name: [pieces[name][i] for i in random.permutation(len(pieces[name]))] * (1 + twice) for name in names}
    loud = {name: 0.06 * 10 ** (random.uniform(-4, 4) / 20) for name in names}
    said: list[tuple[str, Piece]] = []
    while any(left.values()) and sum(len(piece.samples) for _, piece in said) < LONGEST_MIX * RATE:
        ready = [name for name in names if left[name]]
        if said and len(ready) > 1 and said[-1][0] in ready and random.random() < CHANGES:
            ready.remove(said[-1][0])
        name = str(random.choice(ready))
        said.append((name, levelled(left[name].pop(), loud[name])))
    return laid_out(said, random)


def levelled(piece: Piece, loudness: float) -> Piece:
    """Bring a piece to this loudness and fade its ends."""
    spoken = np.concatenate([piece.samples[int(a * RATE) : int(b * RATE)] for a, b in piece.spoken])
    samples = piece.samples * np.float32(loudness / np.sqrt(np.mean(spoken**2)))
    fade = np.linspace(0, 1, RATE // 100, dtype=np.float32)
    samples[: len(fade)] *= fade
    samples[-len(fade) :] *= fade[::-1]
    return replace(piece, samples=samples)


def laid_out(said: list[tuple[str, Piece]], random: np.random.Generator) -> Recording:
    """Put pieces one after another, with pauses and overlaps, into a recording with noise."""
    truth, clock, before = Annotation(), random.uniform(0.2, 2), None
    placed = []
    for name, piece in said:
        seconds = len(piece.samples) / RATE
        chance = random.random()
        if before not in {None, name} and chance < OVERLAPS:
            clock -= min(random.uniform(0.2, 1.5), seconds * 0.6)
        else:
            clock += random.exponential(0.6) + 0.05 if chance < GOES_ON else random.uniform(3, 12)
        clock = max(clock, 0.0)
        placed.append((int(clock * RATE), piece.samples))
        for start, end in piece.spoken:
            truth[Segment(clock + start, clock + end), len(truth)] = name
        clock, before = clock + seconds, name
    length = max(offset + len(samples) for offset, samples in placed) + int(random.uniform(0.2, 3) * RATE)
    sound = (random.standard_normal(length) * 10 ** (random.uniform(-62, -46) / 20)).astype(np.float32)
    for offset, samples in placed:
        sound[offset : offset + len(samples)] += samples
    return Recording(sound, truth)


def write(path: Path, recording: Recording, rate: int = RATE) -> None:
    """Write the sound as WAV and its speakers as RTTM."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(recording.samples, -1, 1) * 32767).astype("<i2").tobytes())
    lines = [
        f"SPEAKER {path.stem} 1 {span.start:.3f} {span.duration:.3f} <NA> <NA> {speaker} <NA> <NA>\n"
        for span, _, speaker in recording.truth.itertracks(yield_label=True)
    ]
    path.with_suffix(".rttm").write_text("".join(lines), encoding="utf-8")


def readings(pocketsphinx: Path, moonshine: Path) -> dict[str, list[Piece]]:
    """Read the pieces of each reader, by the reader's name in SPEAKERS."""
    files = {
        "librivox": sorted((pocketsphinx / "librivox").glob("*.wav")),
        "commands": [pocketsphinx / f"{name}.raw" for name in ("something", "goforward", "numbers")],
        "two_cities": [moonshine / "two_cities.wav"],
        "beckett": [moonshine / "beckett.wav"],
    }
    return {name: [piece for path in paths for piece in pieces_of_reading(load(path))] for name, paths in files.items()}


def write_half(
    folder: Path, half: str, singles: dict[str, dict[str, Recording]], pieces: dict[str, list[Piece]]
) -> None:
    """Write all sets of one half; `singles` has recordings by set and name, `pieces` what each speaker says."""
    for kind, recordings in singles.items():
        for name, recording in recordings.items():
            write(folder / kind / name, recording)
            for number, seconds in enumerate(LATER[kind], 1):
                write(folder / kind / f"{name}_{number}", later(recording, seconds, 300 + number))
    for number, parts in enumerate(JOINED[half]):
        write(folder / "joined" / str(number), joined([singles["meetings"][name] for name in parts]))
    for number in range(MIXES):
        people, twice = (2, 3, 4)[number % 3], number >= MIXES - 2
        mixed = mix(pieces, people, SPEAKERS[half], SEEDS[half] + number, twice=twice)
        write(folder / "mixed" / str(number), mixed)


def main() -> None:
    """Write all sets of both halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("pocketsphinx", "pyannote", "moonshine"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="where the package was unpacked")
    parser.add_argument("--to", type=Path, default=Path("conversations"))
    options = parser.parse_args()

    met = meetings(options.pyannote)
    sample = options.pyannote / "src/pyannote/audio/sample/sample"
    call = Recording(load(sample.with_suffix(".wav")), truths(sample.with_suffix(".rttm"))["sample"])
    demo = Recording(load(DEMO), truths(DEMO.with_suffix(".rttm"))["two_readers"])
    pieces = readings(options.pocketsphinx, options.moonshine)
    for recording in (*met.values(), call):
        for speaker, more in pieces_of_talk(recording).items():
            pieces.setdefault(speaker, []).extend(more)
    for half, known in (("choose", {"demo": demo}), ("check", {"call": call})):
        singles = {"meetings": {name: met[name] for name in MEETINGS[half]}, "half minutes": known}
        write_half(options.to / half, half, singles, pieces)


if __name__ == "__main__":
    main()
