"""The speakers of a result: their names, colours and spans of time."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from natscribe.schemas.kinds import Result

COLOUR_COUNT = 8  # in the style sheet; the ninth speaker has the colour of the first
_NUMBERED = re.compile(r"SPEAKER_(\d+)", re.ASCII)
Span = tuple[float, float]  # start and end in seconds


@dataclass(frozen=True, slots=True)
class Speakers:
    """The speakers of a result, in the order of their names, with their spans of speech."""

    spans: dict[str, list[Span]]

    @classmethod
    def of(cls, result: Result) -> "Speakers":
        """Find the speakers of a result."""
        found: dict[str, list[Span]] = {}
        for part in result.segments:
            if part.speaker is not None:
                found.setdefault(part.speaker, []).append((part.start, part.end))
        return cls(dict(sorted(found.items())))

    def colour(self, speaker: str | None) -> str:
        """Return the class that gives a speaker's colour."""
        return f"s{list(self.spans).index(speaker) % COLOUR_COUNT + 1}" if speaker in self.spans else "s0"


def name(speaker: str) -> str:
    """Return the name for people: `Speaker 1` for `SPEAKER_00`."""
    numbered = _NUMBERED.fullmatch(speaker)
    return f"Speaker {int(numbered[1]) + 1}" if numbered else speaker


def seconds(spans: Iterable[Span]) -> float:
    """Return how many seconds spans last together."""
    return sum(end - start for start, end in spans)
