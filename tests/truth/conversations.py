"""Conversations and their truth: who says what, from when until when."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".flac", ".ogg", ".wav")


@dataclass(frozen=True)
class Said:
    """An interval of one person's speech, in seconds; the words are None if they are not known."""

    speaker: str
    start: float
    end: float
    words: str | None = None


@dataclass(frozen=True)
class Conversation:
    """A recording and its truth."""

    path: Path
    said: Sequence[Said]

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.stem

    @property
    def speakers(self) -> int:
        """How many people speak."""
        return len({utterance.speaker for utterance in self.said})

    @property
    def has_words(self) -> bool:
        """Whether all words are known."""
        return all(utterance.words is not None for utterance in self.said)


def conversations_in(folder: Path) -> list[Conversation]:
    """Find all recordings in a folder that have a truth of the same name beside them, in JSON or RTTM."""
    recordings = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    truths = [(path, _truth(path)) for path in recordings]
    return [Conversation(path, utterances) for path, utterances in truths if utterances]


def _truth(recording: Path) -> list[Said]:
    written, times = recording.with_suffix(".json"), recording.with_suffix(".rttm")
    if written.exists():
        intervals = json.loads(written.read_text(encoding="utf-8"))
        return [Said(**fields) for fields in intervals if isinstance(fields, dict)]  # others are times of languages
    return said_in(times) if times.exists() else []


def said_in(rttm: Path) -> list[Said]:
    """Read a truth in RTTM, which has no words."""
    fields = [line.split() for line in rttm.read_text(encoding="utf-8").splitlines()]
    return [Said(row[7], float(row[3]), float(row[3]) + float(row[4])) for row in fields]
