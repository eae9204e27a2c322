"""Divide a transcript for reading: turns of one speaker, and paragraphs in them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import exp

from natscribe.schemas.transcription import Interval, Segment, TranscriptionResult
from natscribe.subtitles.marks import SENTENCE_ENDS

_PAUSE_S = 2.0  # a pause of this length begins a paragraph
_LONG_CHARS = 420  # a paragraph of this length ends with its sentence
_PART_CHARS = 3000
_LONGEST_CHARS = 900  # a paragraph of this length ends with its segment


@dataclass(frozen=True, slots=True)
class Unit:
    """What is highlighted at once: a word, or a segment if the times of its words are unknown; times in seconds."""

    text: str
    start: float
    end: float
    confidence: float | None
    spaced: bool = True  # whether a blank stands before it


@dataclass(slots=True)
class Paragraph:
    """Consecutive segments of one speaker in one language, without a long pause."""

    language: str | None = None
    units: list[Unit] = field(default_factory=list)
    chars: int = 0
    end: float = 0.0  # of its last segment, in seconds

    def takes(self, segment: Segment) -> bool:
        """Whether the segment continues the paragraph."""
        if segment.language != self.language or segment.start - self.end >= _PAUSE_S:
            return False
        ends = self.units[-1].text.endswith(SENTENCE_ENDS)
        return self.chars < (_LONG_CHARS if ends else _LONGEST_CHARS)

    def add(self, segment: Segment) -> None:
        """Add a segment."""
        self.units += _units(segment)
        self.chars += len(segment.text)
        self.end = max(self.end, segment.end)


@dataclass(slots=True)
class Turn:
    """Consecutive paragraphs of one speaker; `speaker` is None if no speaker was found."""

    speaker: str | None
    paragraphs: list[Paragraph] = field(default_factory=list)
    goes_on: bool = False  # whether it is the rest of a turn that has begun before

    def add(self, segment: Segment) -> None:
        """Add a segment to the last paragraph, or begin a new one with it."""
        if not self.paragraphs or not self.paragraphs[-1].takes(segment):
            self.paragraphs.append(Paragraph(segment.language))
        self.paragraphs[-1].add(segment)


def turns(transcript: TranscriptionResult) -> list[Turn | Interval]:
    """Divide a transcript into turns, and put its gaps between them."""
    found: list[Turn | Interval] = []
    spoken: list[Segment | Interval] = [*transcript.segments, *transcript.untranscribed]
    for each in sorted(spoken, key=lambda each: each.start):
        if isinstance(each, Interval):
            found.append(each)
        elif each.text.strip():
            last = found[-1] if found else None
            if not isinstance(last, Turn) or last.speaker != each.speaker:
                found.append(last := Turn(each.speaker))
            last.add(each)
    return found


def parts(transcript: TranscriptionResult) -> Iterator[list[Turn | Interval]]:
    """Divide the page of a transcript into parts of about the same length, also within long turns.

    A browser draws only the parts that are in sight.
    """
    part: list[Turn | Interval] = []
    chars = 0
    for each in _cut(turns(transcript)):
        part.append(each)
        chars += sum(paragraph.chars for paragraph in each.paragraphs) if isinstance(each, Turn) else 0
        if chars >= _PART_CHARS:
            yield part
            part, chars = [], 0
    if part:
        yield part


def _cut(found: Iterable[Turn | Interval]) -> Iterator[Turn | Interval]:
    """Cut each turn that is longer than a part of the page; `goes_on` marks all its parts but the first."""
    for turn in found:
        if isinstance(turn, Interval):
            yield turn
            continue
        short = Turn(turn.speaker)
        for paragraph in turn.paragraphs:
            if sum(each.chars for each in short.paragraphs) >= _PART_CHARS:
                yield short
                short = Turn(turn.speaker, goes_on=True)
            short.paragraphs.append(paragraph)
        yield short


def _units(segment: Segment) -> Iterator[Unit]:
    words = [word for word in segment.words or () if word.word.strip()]
    if "".join("".join(word.word.split()) for word in words) != "".join(segment.text.split()):
        yield Unit(segment.text.strip(), segment.start, segment.end, _confidence(segment))
        return
    for place, word in enumerate(words):
        is_spaced = place == 0 or word.word[0].isspace()
        yield Unit(word.word.strip(), word.start, word.end, word.probability, is_spaced)


def _confidence(segment: Segment) -> float | None:
    if segment.confidence is None and segment.avg_logprob is not None:
        return exp(min(segment.avg_logprob, 0.0))
    return segment.confidence
