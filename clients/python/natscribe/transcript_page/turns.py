"""Divides a transcript for reading: into turns, i.e. uninterrupted speech of one speaker, and turns into paragraphs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import exp

from natscribe.schemas.transcription import Interval, Segment, TranscriptionResult
from natscribe.subtitles.break_costs import SENTENCE_ENDS
from natscribe.subtitles.units import timed_words

_PAUSE_S = 2.0  # a pause of this length starts a paragraph of the same speaker
_SHORT_PAUSE_S = 0.8  # a pause of this length starts a paragraph without a speaker: another person may speak there
_LONG_CHARS = 420  # a paragraph of this length ends with its sentence
_PART_CHARS = 3000
_LONGEST_CHARS = 900  # a paragraph of this length ends with its segment


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of text that the page highlights during playback; times in seconds.

    A unit is a word, or a whole segment if the times of its words are unknown.
    """

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
    end: float = 0.0  # latest end of its segments, in seconds

    def takes(self, segment: Segment) -> bool:
        """Whether `segment` continues this paragraph instead of starting a new one.

        A new paragraph starts after a pause, where the language changes, and when this paragraph is already long.
        """
        pause_s = _PAUSE_S if segment.speaker else _SHORT_PAUSE_S
        if segment.language != self.language or segment.start - self.end >= pause_s:
            return False
        ends = self.units[-1].text.endswith(SENTENCE_ENDS)
        return self.chars < (_LONG_CHARS if ends else _LONGEST_CHARS)

    def add(self, segment: Segment) -> None:
        """Append a segment to the paragraph."""
        self.units += _units(segment)
        self.chars += len(segment.text)
        self.end = max(self.end, segment.end)


@dataclass(slots=True)
class Turn:
    """Consecutive paragraphs of one speaker; `speaker` is None if the segments have no speaker.

    `is_continued`: whether the turn started in an earlier part of the page, and only its rest is in this part.
    """

    speaker: str | None
    paragraphs: list[Paragraph] = field(default_factory=list)
    is_continued: bool = False  # whether the turn is the rest of a turn that an earlier part has started

    @property
    def chars(self) -> int:
        """The number of characters in the turn."""
        return sum(paragraph.chars for paragraph in self.paragraphs)

    def add(self, segment: Segment) -> None:
        """Append a segment to the last paragraph if it continues this paragraph, else to a new one."""
        if not self.paragraphs or not self.paragraphs[-1].takes(segment):
            self.paragraphs.append(Paragraph(segment.language))
        self.paragraphs[-1].add(segment)


def turns(transcript: TranscriptionResult) -> list[Turn | Interval]:
    """Return the turns of a transcript and the intervals that were not transcribed, all in order of time."""
    result: list[Turn | Interval] = []
    speech: list[Segment | Interval] = [*transcript.segments, *transcript.untranscribed]
    for item in sorted(speech, key=lambda item: item.start):
        if isinstance(item, Interval):
            result.append(item)
        elif item.text.strip():
            last = result[-1] if result else None
            if not isinstance(last, Turn) or last.speaker != item.speaker:
                result.append(last := Turn(item.speaker))
            last.add(item)
    return result


def parts(transcript: TranscriptionResult) -> Iterator[list[Turn | Interval]]:
    """Divide a transcript into parts of about equal length for the page; a long turn is divided, too.

    So a browser can render only the parts that are visible.
    """
    part: list[Turn | Interval] = []
    chars = 0
    for item in _cut(turns(transcript)):
        part.append(item)
        chars += item.chars if isinstance(item, Turn) else 0
        if chars >= _PART_CHARS:
            yield part
            part, chars = [], 0
    if part:
        yield part


def _cut(items: Iterable[Turn | Interval]) -> Iterator[Turn | Interval]:
    """Split turns that are too long for a part of the page, and yield intervals as they are.

    `is_continued` is set in all pieces of a turn but the first.
    """
    for turn in items:
        if isinstance(turn, Interval):
            yield turn
            continue
        short = Turn(turn.speaker)
        for paragraph in turn.paragraphs:
            if short.chars >= _PART_CHARS:
                yield short
                short = Turn(turn.speaker, is_continued=True)
            short.paragraphs.append(paragraph)
        yield short


def _units(segment: Segment) -> Iterator[Unit]:
    words = timed_words(segment)
    if not words:
        yield Unit(segment.text.strip(), segment.start, segment.end, _confidence(segment))
    for index, word in enumerate(words):
        is_spaced = index == 0 or word.word[0].isspace()
        yield Unit(word.word.strip(), word.start, word.end, word.probability, is_spaced)


def _confidence(segment: Segment) -> float | None:
    if segment.confidence is None and segment.avg_logprob is not None:
        return exp(min(segment.avg_logprob, 0.0))
    return segment.confidence
