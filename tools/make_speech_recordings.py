"""Join telephone announcements into recordings like those that people submit: dictations, calls, messages.

The announcements are Debian's ``asterisk-core-sounds``: en and es read by Allison Smith, fr by June Wallack
(CC-BY-SA-3.0), it by Carlo Flora, ru by Maxim Topal (CC-BY-3.0), each with its text. ``tests/recordings/README.md``
describes the recordings. Only every second announcement is used; ``--other-half`` uses the other announcements instead.

    apt-get download asterisk-core-sounds-{en,es,fr,it,ru}{,-g722}
    for package in *.deb; do dpkg -x $package sounds; done
    pip install av numpy soundfile
    python tools/make_speech_recordings.py sounds/usr/share tests/recordings/speech
    python tools/make_speech_recordings.py sounds/usr/share /some/folder --full
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import numpy.typing as npt
import soundfile

if TYPE_CHECKING:
    from collections.abc import Sequence

Samples = npt.NDArray[np.int16]

RATE_HZ = 16_000
VOICES = {
    "ru": "ru_RU_f_IvrvoiceRU",
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
}
SHUFFLE_SEED = 7
TEXT_CHARACTERS = range(25, 321)
NOT_WHAT_IS_READ = "[/<("  # a text with one of these characters describes a sound or has a variant
SHORTEST_S = 1.2  # shorter announcements are left out
MESSAGE_S = (2.5, 12.0)  # an announcement of this length is written as a message of its own
PROMPT_PAUSE_S, DICTATION_PAUSE_S, LEFT_PAUSE_S, RIGHT_PAUSE_S = 0.7, 3.0, 1.5, 1.2
# The kinds of recordings begin with different announcements, so that they share few sentences.
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
    """One sound file of the packages and its text."""

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
    found = []
    for line in gzip.decompress(listing.read_bytes()).decode(errors="replace").splitlines():
        name, colon, text = (part.strip() for part in line.partition(":"))
        text = re.sub(rf"^{re.escape(name)}:\s*", "", text)  # some lines have the name twice
        path = share / "asterisk/sounds" / VOICES[language] / f"{name}.g722"
        if colon and _is_read_as_written(line, text) and path.exists():
            found.append(Announcement(name, text, path))
    random.Random(SHUFFLE_SEED).shuffle(found)  # noqa: S311 -- an order, no secret
    return found[half::2]


def _is_read_as_written(line: str, text: str) -> bool:
    comment = line.startswith(";")
    return not comment and len(text) in TEXT_CHARACTERS and not any(sign in text for sign in NOT_WHAT_IS_READ)


def join(chosen: Sequence[Announcement], pause_s: float, limit_s: float) -> tuple[Samples, list[str]]:
    """Join announcements, a pause after each, until their length exceeds the limit; return the sound and the texts."""
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


@dataclass(frozen=True)
class Writer:
    """Writes the kinds of recordings into a folder."""

    share: Path
    folder: Path
    sizes: Sizes
    half: int

    def write(self) -> None:
        """Write all kinds of recordings."""
        (self.folder / "short").mkdir(parents=True, exist_ok=True)
        for language in VOICES:
            self._recording(f"prompts-{language}", *join(self._of(language), PROMPT_PAUSE_S, self.sizes.prompts_s))
        for language in ("en", "ru"):
            chosen = self._of(language)[DICTATION_FIRST:] + self._of(language)
            self._recording(f"dictation-{language}", *join(chosen, DICTATION_PAUSE_S, self.sizes.dictation_s))
            self._messages(language)
        self._languages()
        self._channels()

    def _of(self, language: str) -> list[Announcement]:
        return announcements(self.share, language, self.half)

    def _recording(self, name: str, samples: Samples, lines: Sequence[str]) -> None:
        soundfile.write(self.folder / f"{name}.flac", samples, RATE_HZ)
        (self.folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{name}: {len(samples) / RATE_HZ:.1f} s")

    def _messages(self, language: str) -> None:
        texts: dict[str, str] = {}
        for announcement in self._of(language):
            samples, name = announcement.samples(), f"{language}-{announcement.name.replace('/', '_')}"
            if MESSAGE_S[0] * RATE_HZ < len(samples) < MESSAGE_S[1] * RATE_HZ and len(texts) < self.sizes.messages:
                soundfile.write(self.folder / "short" / f"{name}.flac", samples, RATE_HZ)
                texts[name] = announcement.text
        listing = self.folder / "short" / f"{language}.json"
        listing.write_text(json.dumps(texts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def _languages(self) -> None:
        """Write a recording with three languages in turn, and a file with the times of each turn."""
        parts: list[Samples] = []
        lines: list[str] = []
        times: list[tuple[str, float, float]] = []
        end = 0
        for turn in range(self.sizes.turns):
            for language in ("en", "ru", "es"):
                samples, texts = join(self._of(language)[turn * TURN_STEP :], PROMPT_PAUSE_S, self.sizes.part_s)
                start, end = end, end + len(samples)
                times.append((language, round(start / RATE_HZ, 2), round(end / RATE_HZ, 2)))
                parts.append(samples)
                lines += [f"{language}: {text}" for text in texts]
        self._recording("languages", np.concatenate(parts), lines)
        (self.folder / "languages.json").write_text(json.dumps(times) + "\n", encoding="utf-8")

    def _channels(self) -> None:
        """Write a recording with English in the left and Russian in the right channel, at the same time."""
        left, left_texts = join(self._of("en")[CHANNELS_FIRST:], LEFT_PAUSE_S, self.sizes.channel_s)
        right, right_texts = join(self._of("ru")[CHANNELS_FIRST:], RIGHT_PAUSE_S, self.sizes.channel_s)
        both = np.zeros((max(len(left), len(right)), 2), np.int16)
        both[: len(left), 0] = left
        both[: len(right), 1] = right
        self._recording(
            "two-channels", both, [f"left en: {' '.join(left_texts)}", f"right ru: {' '.join(right_texts)}"]
        )


def main() -> None:
    """Write the recordings."""
    parser = argparse.ArgumentParser(description="Join announcements into kinds of recordings.")
    parser.add_argument("share", type=Path, help="the unpacked packages' folder usr/share")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument(
        "--full", action="store_true", help="about 20 minutes instead of the short recordings of the repository"
    )
    parser.add_argument("--other-half", action="store_true", help="use the announcements that are left out otherwise")
    asked = parser.parse_args()
    Writer(asked.share, asked.folder, FULL if asked.full else REPOSITORY, int(asked.other_half)).write()


if __name__ == "__main__":
    main()
