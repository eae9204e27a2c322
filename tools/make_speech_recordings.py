"""Join telephone announcements into recordings like those that people submit: dictations, calls, messages.

The announcements are those of Debian's ``asterisk-core-sounds``, each with its text; ``tests/recordings/README.md``
describes the recordings, ``NOTICE`` names the speakers and licences. Only every second announcement is used;
``--other-half`` uses the others.

    apt-get download asterisk-core-sounds-{en,es,fr,it,ru}{,-g722}
    for package in *.deb; do dpkg -x $package packages; done
    pip install av numpy soundfile
    python tools/make_speech_recordings.py packages/usr/share tests/recordings/speech
    python tools/make_speech_recordings.py packages/usr/share /some/folder --full
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile

Samples = npt.NDArray[np.int16]

RATE_HZ = 16_000
SPEAKERS = {
    "ru": "ru_RU_f_IvrvoiceRU",
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
}
SHUFFLE_SEED = 7
TEXT_CHARACTERS = range(25, 321)
NOT_READ_AS_WRITTEN = "[/<("  # a text with one of these characters describes a sound or has a variant
SHORTEST_S = 1.2  # shorter announcements are left out
MESSAGE_S = (2.5, 12.0)  # an announcement of this length is written as a message of its own
PROMPT_PAUSE_S, DICTATION_PAUSE_S, LEFT_PAUSE_S, RIGHT_PAUSE_S = 0.7, 3.0, 1.5, 1.2
# The kinds of recordings start with different announcements, so that they share few sentences.
DICTATION_FIRST, CHANNELS_FIRST, TURN_STEP = 40, 20, 9


@dataclass(frozen=True)
class Sizes:
    """The seconds after which a recording of each kind ends, and the numbers of messages and turns."""

    prompts_s: float
    dictation_s: float
    part_s: float
    channel_s: float
    messages: int
    turns: int


REPOSITORY = Sizes(prompts_s=26, dictation_s=26, part_s=8, channel_s=13, messages=3, turns=1)
FULL = Sizes(prompts_s=150, dictation_s=150, part_s=30, channel_s=45, messages=30, turns=2)


@dataclass(frozen=True)
class Announcement:
    """An audio file of the packages and its text."""

    name: str
    text: str
    path: Path

    def samples(self) -> Samples:
        """Decode the G.722 file: 16 kHz, mono."""
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
        with av.open(str(self.path), format="g722") as container:
            frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.int16)


def announcements(share: Path, language: str, half: int) -> list[Announcement]:
    """List every second announcement of a language, in a shuffled order that is always the same."""
    listing = share / f"doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
    candidates = []
    for line in gzip.decompress(listing.read_bytes()).decode(errors="replace").splitlines():
        name, colon, text = (part.strip() for part in line.partition(":"))
        text = re.sub(rf"^{re.escape(name)}:\s*", "", text)  # some lines have the name twice
        path = share / "asterisk/sounds" / SPEAKERS[language] / f"{name}.g722"
        as_written = len(text) in TEXT_CHARACTERS and not any(sign in text for sign in NOT_READ_AS_WRITTEN)
        if colon and as_written and not line.startswith(";") and path.exists():
            candidates.append(Announcement(name, text, path))
    random.Random(SHUFFLE_SEED).shuffle(candidates)  # noqa: S311 -- an order, no secret
    return candidates[half::2]


def join(chosen: Sequence[Announcement], pause_s: float, limit_s: float) -> tuple[Samples, list[str]]:
    """Join announcements, a pause after each, until they are longer than the limit; return samples and texts."""
    pause, parts, texts, length_s = np.zeros(int(pause_s * RATE_HZ), np.int16), [], [], 0.0
    for announcement in chosen:
        samples = announcement.samples()
        if len(samples) < SHORTEST_S * RATE_HZ:
            continue
        parts += [samples, pause]
        texts.append(announcement.text)
        length_s += len(samples) / RATE_HZ + pause_s
        if length_s > limit_s:
            break
    return np.concatenate(parts), texts


def write(folder: Path, name: str, samples: Samples, lines: Sequence[str]) -> None:
    """Write a recording and its text."""
    soundfile.write(folder / f"{name}.flac", samples, RATE_HZ)
    (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: {len(samples) / RATE_HZ:.1f} s")


def write_messages(folder: Path, language: str, chosen: Sequence[Announcement], count: int) -> None:
    """Write short announcements, one a file, and a list of their texts."""
    texts: dict[str, str] = {}
    for announcement in chosen:
        samples, name = announcement.samples(), f"{language}-{announcement.name.replace('/', '_')}"
        if MESSAGE_S[0] * RATE_HZ < len(samples) < MESSAGE_S[1] * RATE_HZ and len(texts) < count:
            soundfile.write(folder / f"{name}.flac", samples, RATE_HZ)
            texts[name] = announcement.text
    text = json.dumps(texts, ensure_ascii=False, indent=1) + "\n"
    (folder / f"{language}.json").write_text(text, encoding="utf-8")


def write_languages(folder: Path, by_language: dict[str, list[Announcement]], sizes: Sizes) -> None:
    """Write a recording of three languages in turn, and a file with the times of each turn."""
    parts: list[Samples] = []
    lines: list[str] = []
    times: list[tuple[str, float, float]] = []
    end = 0
    for turn in range(sizes.turns):
        for language in ("en", "ru", "es"):
            samples, texts = join(by_language[language][turn * TURN_STEP :], PROMPT_PAUSE_S, sizes.part_s)
            start, end = end, end + len(samples)
            times.append((language, round(start / RATE_HZ, 2), round(end / RATE_HZ, 2)))
            parts.append(samples)
            lines += [f"{language}: {text}" for text in texts]
    write(folder, "languages", np.concatenate(parts), lines)
    (folder / "languages.json").write_text(json.dumps(times) + "\n", encoding="utf-8")


def write_channels(folder: Path, by_language: dict[str, list[Announcement]], limit_s: float) -> None:
    """Write a recording with English in the left and Russian in the right channel, at the same time."""
    left, left_texts = join(by_language["en"][CHANNELS_FIRST:], LEFT_PAUSE_S, limit_s)
    right, right_texts = join(by_language["ru"][CHANNELS_FIRST:], RIGHT_PAUSE_S, limit_s)
    channels = np.zeros((max(len(left), len(right)), 2), np.int16)
    channels[: len(left), 0] = left
    channels[: len(right), 1] = right
    write(folder, "two-channels", channels, [f"left en: {' '.join(left_texts)}", f"right ru: {' '.join(right_texts)}"])


def main() -> None:
    """Write all kinds of recordings."""
    parser = argparse.ArgumentParser(description="Join announcements into kinds of recordings.")
    parser.add_argument("share", type=Path, help="the unpacked packages' folder usr/share")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--full", action="store_true", help="27 minutes instead of the short recordings here")
    parser.add_argument("--other-half", action="store_true", help="use the announcements that are left out otherwise")
    options = parser.parse_args()
    folder, sizes = options.folder, FULL if options.full else REPOSITORY
    by_language = {name: announcements(options.share, name, int(options.other_half)) for name in SPEAKERS}
    (folder / "short").mkdir(parents=True, exist_ok=True)
    for language, chosen in by_language.items():
        write(folder, f"prompts-{language}", *join(chosen, PROMPT_PAUSE_S, sizes.prompts_s))
        if language in {"en", "ru"}:
            dictation = join(chosen[DICTATION_FIRST:] + chosen, DICTATION_PAUSE_S, sizes.dictation_s)
            write(folder, f"dictation-{language}", *dictation)
            write_messages(folder / "short", language, chosen, sizes.messages)
    write_languages(folder, by_language, sizes)
    write_channels(folder, by_language, sizes.channel_s)


if __name__ == "__main__":
    main()
