"""Subtitles by the rules of broadcasters: short lines that end between phrases, and cues with enough time to read.

A cue has one speaker. Cues never overlap, even if people speak at the same time: SubRip and the formats of
broadcasters show one cue at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.transcription import Segment
from natscribe.subtitles.breaking import Breaker
from natscribe.subtitles.passages import Passage, interrupted, passages
from natscribe.subtitles.pieces import width
from natscribe.subtitles.timing import Spoken, shown

__all__ = ["Cue", "cues"]


@dataclass(frozen=True, slots=True)
class Cue:
    """The lines that are shown together, with their times in seconds."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A cue before its times are chosen: the pieces `first` to `behind - 1` of a passage."""

    passage: Passage
    breaker: Breaker
    first: int
    behind: int

    @property
    def start(self) -> float:
        return self.passage.pieces[self.first].start

    @property
    def end(self) -> float:
        return self.passage.pieces[self.behind - 1].end


def cues(segments: Iterable[Segment], limits: SubtitleLimits, *, with_names: bool) -> list[Cue]:
    """Turn segments into cues, by time; `with_names` writes the speaker's name in a cue where the speaker changes."""
    drafts = sorted(_drafts(segments, limits, with_names=with_names), key=lambda draft: draft.start)
    texts = _texts(drafts, with_names=with_names)
    spoken = [
        Spoken(round(draft.start, 3), round(draft.end, 3), width(" ".join(lines)))
        for draft, lines in zip(drafts, texts, strict=True)
    ]
    return [
        Cue(start, end, lines, draft.passage.speaker)
        for (start, end), lines, draft in zip(shown(spoken, limits.max_cue_seconds), texts, drafts, strict=True)
    ]


def _drafts(segments: Iterable[Segment], limits: SubtitleLimits, *, with_names: bool) -> list[_Draft]:
    found = passages(segments, limits.max_line_chars)
    mixed = interrupted(found)
    drafts = []
    for place, passage in enumerate(found):
        changes = place == 0 or mixed[place - 1] or found[place - 1].speaker != passage.speaker
        name = _name(passage) if with_names and (changes or mixed[place]) else ""
        breaker = Breaker(passage, limits, name, name_each=mixed[place])
        drafts += [_Draft(passage, breaker, first, behind) for first, behind in breaker.cues()]
    return drafts


def _texts(drafts: Sequence[_Draft], *, with_names: bool) -> list[tuple[str, ...]]:
    texts = []
    speaker = None
    for draft in drafts:
        name = _name(draft.passage) if with_names and draft.passage.speaker != speaker else ""
        texts.append(draft.breaker.lines(draft.first, draft.behind, name))
        speaker = draft.passage.speaker
    return texts


def _name(passage: Passage) -> str:
    return f"{passage.speaker}: " if passage.speaker else ""
