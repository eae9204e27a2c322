"""What announcers say in Debian's packages of Asterisk's sounds, with the texts where the packages have them."""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from make_calls import announced
from make_conversations import RATE, Samples, speech

VOICES = {
    "allison": ("en_US_f_Allison", "en"),
    "allison es": ("es_MX_f_Allison", "es"),
    "june": ("fr_CA_f_June", "fr"),
    "carlo": ("it_IT_m_Carlo", "it"),
    "ivrvoice": ("ru_RU_f_IvrvoiceRU", "ru"),
    "armelle": ("fr", None),
    "menardi": ("it_IT_f_Menardi", None),
    "avatar": ("es_CO_f_Avatar", None),
    "german": ("de", None),
}
"""For each voice, the folder of the sounds and the language of the list of texts; the first word is the person."""

SHUFFLE_SEED = 7
NOT_WHAT_IS_READ = re.compile(r"[\[/<(]|\?.")  # such texts describe a sound, have a variant or are damaged
NO_SPEECH = ("silence", "beep", "tone")  # parts of the names of such sounds


@dataclass(frozen=True)
class Sentence:
    """What one person says at once; the text is null where it is not known."""

    sound: Samples
    text: str | None

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.sound) / RATE


@dataclass(frozen=True)
class Voices:
    """All voices of one half: every second announcement of each, in a shuffled order."""

    share: Path
    half: int
    known: dict[str, list[Sentence]]

    def of(self, name: str) -> list[Sentence]:
        """Return what a voice says."""
        if name not in self.known:
            self.known[name] = list(self._announcements(*VOICES[name]))
        return self.known[name]

    def _announcements(self, folder: str, language: str | None) -> Iterator[Sentence]:
        sounds = self.share / "asterisk/sounds" / folder
        texts = listed(self.share, language) if language else None
        paths = sorted(path for path in sounds.rglob("*.*") if not any(word in str(path) for word in NO_SPEECH))
        known = [path for path in paths if texts is None or named(path, sounds) in texts]
        random.Random(SHUFFLE_SEED).shuffle(known)  # noqa: S311 -- an order, no secret
        for path in known[self.half :: 2]:
            sound = announced(path)
            spans = speech(sound) if len(sound) > RATE // 4 else []
            if spans:
                text = texts[named(path, sounds)] if texts else None
                yield Sentence(sound[int(spans[0][0] * RATE) : int(spans[-1][1] * RATE)], text)


def named(path: Path, sounds: Path) -> str:
    """Name a sound as the lists of texts do."""
    return str(path.relative_to(sounds).with_suffix(""))


def listed(share: Path, language: str) -> dict[str, str]:
    """Read the texts of a language by the name of the sound; leave out those that are not read as written."""
    path = share / f"doc/asterisk-core-sounds-{language}/core-sounds-{language}.txt.gz"
    found = {}
    for line in gzip.decompress(path.read_bytes()).decode(errors="replace").splitlines():
        name, colon, text = (part.strip() for part in line.partition(":"))
        text = re.sub(rf"^{re.escape(name)}:\s*", "", text)  # some lines have the name twice
        if colon and text and not line.startswith(";") and not NOT_WHAT_IS_READ.search(text):
            found[name] = text
    return found
