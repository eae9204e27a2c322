r"""Make telephone calls with known speakers, in addition to the conversations of ``make_conversations.py``.

In each call two or three people take turns, interrupt each other and say single words while another person speaks.
Each call is written twice: in full quality (``wide``), and as a telephone transmits it (``phone``): 300 to 3400 Hz,
8000 samples a second, mu-law. The voices are those of Debian's announcements for Asterisk, some of which come through a
GSM codec, and of two readings. The two halves share no voice: parameters are chosen with one half and checked with the
other half. All random choices are seeded: the same packages give the same calls. Conversations that
``make_conversations.py`` mixed or joined can also be written as a telephone transmits them (``phoned``).

    apt-get download asterisk-core-sounds-{en,es,fr,it,ru}-g722 asterisk-prompt-{de,es-co,fr-armelle,it-menardi-wav}
    for package in asterisk-*.deb; do dpkg -x $package sounds; done
    python tools/make_calls.py --asterisk sounds/usr/share/asterisk/sounds \
        --pocketsphinx testdata/usr/share/pocketsphinx/test/data --moonshine moonshine_voice/assets \
        --conversations conversations --to calls
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler
from make_conversations import RATE, Piece, Recording, Samples, levelled, load, readings, speech, truths, write
from pyannote.core import Annotation, Segment

HALVES = {
    "choose": {
        "allison": ("en_US_f_Allison", "es_MX_f_Allison"),
        "june": ("fr_CA_f_June",),
        "german": ("de",),
        "librivox": (),
    },
    "check": {
        "ivrvoice": ("ru_RU_f_IvrvoiceRU",),
        "carlo": ("it_IT_m_Carlo",),
        "armelle": ("fr",),
        "menardi": ("it_IT_f_Menardi",),
        "avatar": ("es_CO_f_Avatar",),
        "two_cities": (),
    },
}
SEEDS = {"choose": 400, "check": 500}
KINDS = {"minutes": (12, 70.0), "half minutes": (12, 28.0), "long": (2, 300.0)}
"""For each kind of call, the number of calls and their length in seconds."""
SENTENCE = (1.2, 7.0)  # seconds; an announcement of this length is a sentence
WORD = (0.25, 0.8)  # seconds; an announcement of this length is a word
MOST_SENTENCES = 3  # sentences in one turn
# Probabilities: that the speaker changes, that a speaker interrupts, that the listener says a word.
CHANGES, OVERLAPS, LISTENS = 0.85, 0.25, 0.4
BAND = (300.0, 3400.0)  # Hz that a telephone transmits
SLOPE = 100.0  # Hz on each side of the band in which the level falls to nothing
MU = 255.0  # the parameter of mu-law


@dataclass(frozen=True)
class Voice:
    """What one person says: sentences in their own turns, and words in the turns of other people."""

    sentences: list[Piece]
    words: list[Piece]


def announcer(folders: list[Path]) -> Voice:
    """Read the announcements of one person; their length decides whether they are sentences or words."""
    found = Voice([], [])
    for path in sorted(path for folder in folders for path in folder.rglob("*.*") if "silence" not in path.parts):
        sound = announced(path)
        spoken = speech(sound) if len(sound) > RATE // 8 else []
        if not spoken:
            continue
        start, end = int(spoken[0][0] * RATE), int(spoken[-1][1] * RATE)
        piece = Piece(sound[start:end], [(a - start / RATE, b - start / RATE) for a, b in spoken])
        for (least, most), pieces in ((SENTENCE, found.sentences), (WORD, found.words)):
            if least <= len(piece.samples) / RATE <= most:
                pieces.append(piece)
    return found


def announced(path: Path) -> Samples:
    """Decode an announcement; the file has no header, its suffix names the format."""
    resampler = AudioResampler("flt", "mono", RATE)
    with av.open(str(path), format=path.suffix[1:]) as file:
        frames = [part for frame in file.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([np.empty(0, np.float32), *(frame.to_ndarray().reshape(-1) for frame in frames)])


def call(voices: dict[str, Voice], names: list[str], seconds: float, random: np.random.Generator) -> Recording:
    """Make a call of this length between these people."""
    placed: list[tuple[float, str, Piece]] = []
    loud = {name: 0.06 * 10 ** (random.uniform(-6, 6) / 20) for name in names}
    clock, before = random.uniform(0.2, 2), ""
    while clock < seconds:
        others = [name for name in names if name != before]
        name = before if before and random.random() > CHANGES else str(random.choice(others))
        clock += random.exponential(0.5)
        if before not in {"", name} and random.random() < OVERLAPS:
            clock = max(0.0, clock - random.uniform(0.3, 1.5))
        for _ in range(random.integers(1, MOST_SENTENCES + 1)):
            piece = levelled(pick(voices[name].sentences, random), loud[name])
            placed.append((clock, name, piece))
            listener = str(random.choice([other for other in names if other != name]))
            if voices[listener].words and random.random() < LISTENS:
                word = levelled(pick(voices[listener].words, random), loud[listener])
                placed.append((clock + random.uniform(0, len(piece.samples) / RATE), listener, word))
            clock += len(piece.samples) / RATE + random.uniform(0.1, 0.6)
        before = name
    return laid_out(placed, random)


def pick(pieces: list[Piece], random: np.random.Generator) -> Piece:
    """Choose one piece and copy its samples."""
    piece = pieces[random.integers(len(pieces))]
    return Piece(piece.samples.copy(), piece.spoken)


def laid_out(placed: list[tuple[float, str, Piece]], random: np.random.Generator) -> Recording:
    """Put the pieces at their times into a recording with faint noise."""
    length = max(int(start * RATE) + len(piece.samples) for start, _, piece in placed) + RATE
    sound = (random.standard_normal(length) * 10 ** (random.uniform(-62, -48) / 20)).astype(np.float32)
    truth = Annotation()
    for start, name, piece in placed:
        offset = int(start * RATE)
        sound[offset : offset + len(piece.samples)] += piece.samples
        for begin, end in piece.spoken:
            truth[Segment(start + begin, start + end), len(truth)] = name
    return Recording(sound, truth.support())


def telephone(samples: Samples) -> Samples:
    """Filter and quantize samples as a telephone does; the result has 8000 samples a second."""
    return quantized(filtered(samples)[::2])


def filtered(samples: Samples) -> Samples:
    """Keep what a telephone transmits: 300 to 3400 Hz."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    passed = np.minimum((hertz - BAND[0]) / SLOPE, (BAND[1] - hertz) / SLOPE) + 1
    return np.asarray(np.fft.irfft(spectrum * passed.clip(0, 1), len(samples)), np.float32)


def quantized(samples: Samples) -> Samples:
    """Quantize samples by mu-law."""
    loud = samples.clip(-1, 1)
    steps = np.rint(np.sign(loud) * np.log1p(MU * np.abs(loud)) / np.log1p(MU) * 127) / 127
    return np.asarray(np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(MU)) / MU, np.float32)


def write_half(folder: Path, voices: dict[str, Voice], seed: int) -> None:
    """Write the calls of one half, each in full quality and as a telephone transmits it."""
    for kind, (count, seconds) in KINDS.items():
        for number in range(count):
            random = np.random.default_rng([seed, number, int(seconds)])
            people = 3 if number % 3 == 2 else 2  # noqa: PLR2004 -- each third call
            names = [str(name) for name in random.choice(sorted(voices), people, replace=False)]
            spoken = call(voices, names, seconds, random)
            write(folder / f"wide {kind}" / str(number), spoken)
            write(folder / f"phone {kind}" / str(number), Recording(telephone(spoken.samples), spoken.truth), RATE // 2)


def write_phoned(conversations: Path, folder: Path) -> None:
    """Write conversations of several people as a telephone transmits them."""
    for kind in ("mixed", "joined"):
        for sound in sorted((conversations / kind).glob("*.wav")):
            (truth,) = truths(sound.with_suffix(".rttm")).values()
            write(folder / f"phoned {kind}" / sound.stem, Recording(telephone(load(sound)), truth), RATE // 2)


def main() -> None:
    """Write the calls of both halves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("asterisk", "pocketsphinx", "moonshine"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="where the packages were unpacked")
    parser.add_argument("--conversations", type=Path, help="what make_conversations.py wrote")
    parser.add_argument("--to", type=Path, default=Path("calls"))
    options = parser.parse_args()
    read = readings(options.pocketsphinx, options.moonshine)
    for half, people in HALVES.items():
        voices = {
            name: announcer([options.asterisk / folder for folder in folders]) if folders else Voice(read[name], [])
            for name, folders in people.items()
        }
        write_half(options.to / half, voices, SEEDS[half])
        if options.conversations:
            write_phoned(options.conversations / half, options.to / half)


if __name__ == "__main__":
    main()
