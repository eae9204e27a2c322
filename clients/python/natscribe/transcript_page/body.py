"""Renders the main part of the page: the text of a transcript, or the speaker turns of a diarization."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import count

from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import Interval, TranscriptionResult
from natscribe.transcript_page.markup import clock_time, share
from natscribe.transcript_page.speakers import Speakers, colour
from natscribe.transcript_page.turns import Paragraph, Turn, Unit, parts

UNSURE, HARDLY = 0.6, 0.35  # below these confidences a word is marked
_TURNS = 40  # in a part of a diarization


@dataclass(slots=True)
class _Writer:
    """Renders the turns and gaps of a page in order.

    `numbers`, `gaps`: yield the numbers in the HTML ids of the next line and of the next gap.
    """

    duration: float  # of the recording, in seconds
    speakers: Speakers
    has_languages: bool = False  # whether the recording has several languages
    language: str | None = None  # of the previous paragraph
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    gaps: Iterator[int] = field(default_factory=lambda: count(1))

    def part(self, part: list[Turn | Interval]) -> str:
        return _part(self.turn(item) if isinstance(item, Turn) else self.gap(item) for item in part)

    def turn(self, turn: Turn) -> str:
        written = "\n".join(map(self.paragraph, turn.paragraphs))
        return self.block(turn.speaker, written, is_continued=turn.is_continued)

    def block(self, speaker: str | None, written: str, *, is_continued: bool = False) -> str:
        """Return the HTML of a turn, headed by its speaker's name if the result has speakers.

        `written`: the HTML of the turn's lines. `is_continued`: whether the turn starts in an earlier part of the page,
        which contains the name.
        """
        name = f"\n<h2>{escape(speaker or 'Unknown speaker')}</h2>" if self.speakers and not is_continued else ""
        kind = "turn on" if is_continued else "turn"
        return f'<div class="{kind} {colour(self.speakers, speaker)}">{name}\n{written}\n</div>'

    def paragraph(self, paragraph: Paragraph) -> str:
        language = ""
        if self.has_languages and paragraph.language and paragraph.language != self.language:
            code = escape(paragraph.language)
            language = f'<small data-language="{code}">{code}</small>'
        self.language = paragraph.language
        text = "".join(map(_unit, paragraph.units)).lstrip()
        spoken = f' lang="{escape(paragraph.language)}"' if paragraph.language else ""
        return self.line(text, f'dir="auto"{spoken}', paragraph.units, language)

    def gap(self, interval: Interval) -> str:
        text = f"Not transcribed until {clock_time(interval.end + 0.5, self.duration)}"
        written = self.alone(Unit(text, interval.start, interval.end, None))
        return f'<div class="turn gap" id="gap{next(self.gaps)}">\n{written}\n</div>'

    def alone(self, unit: Unit) -> str:
        return self.line(_unit(unit).lstrip(), "", [unit])

    def line(self, text: str, attributes: str, units: list[Unit], beside: str = "") -> str:
        anchor = f"p{next(self.numbers)}"
        time = f'<a href="#{anchor}"><time>{clock_time(units[0].start, self.duration)}</time></a>{beside}'
        spoken = f'<p data-t="{_times(units)}"{attributes and " "}{attributes}>{text}</p>'
        return f'<div class="line" id="{anchor}"><div>{time}</div>{spoken}</div>'


def body(result: Result, speakers: Speakers) -> str:
    """Return the HTML of the page's `<main>`."""
    writer = _Writer(result.duration, speakers)
    if isinstance(result, TranscriptionResult):
        writer.has_languages = len(result.languages) > 1
        written_parts = [writer.part(part) for part in parts(result)]
    else:
        blocks = [_diarized(writer, turn.speaker, turn.start, turn.end) for turn in result.segments]
        written_parts = [_part(blocks[first : first + _TURNS], "part brief") for first in range(0, len(blocks), _TURNS)]
    written = "\n".join(written_parts) or '<p class="nothing">No speech detected.</p>'
    return f"<main>\n{written}\n</main>"


def _part(blocks: Iterable[str], kind: str = "part") -> str:
    written = "\n".join(blocks)
    return f'<div class="{kind}">\n{written}\n</div>'


def _diarized(writer: _Writer, speaker: str, start: float, end: float) -> str:
    unit = Unit(f"speaks for {end - start:.1f} seconds", start, end, None)
    return writer.block(speaker, writer.alone(unit))


def _unit(unit: Unit) -> str:
    confidence = unit.confidence if unit.confidence is not None else 1.0
    mark = ""
    if confidence < UNSURE:
        mark = f' class="{"v" if confidence < HARDLY else "u"}" title="{escape(share(confidence))} sure"'
    return f"{' ' if unit.spaced else ''}<span{mark}>{escape(unit.text)}</span>"


def _times(units: list[Unit]) -> str:
    """Return the `data-t` attribute of a line: the start of each of its units and the end of the last, delta-encoded.

    A unit is a word or a segment. Each number is the difference from the previous time in hundredths of a second; the
    first number is the first time itself.
    """
    written, before = [], 0
    for moment in [*(unit.start for unit in units), max(unit.end for unit in units)]:
        now = max(before, round(100 * moment))
        written.append(str(now - before))
        before = now
    return " ".join(written)
