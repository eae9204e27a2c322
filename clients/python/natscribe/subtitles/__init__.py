"""Subtitles by the rules of broadcasters: short lines that end between phrases, and cues with enough time to read.

A cue has one speaker. Cues never overlap, even if people speak at the same time: SubRip and the formats of
broadcasters show one cue at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.transcription import Segment
from natscribe.subtitles.breaking import Breaker
from natscribe.subtitles.timing import Spoken, shown
from natscribe.subtitles.turns import Turn, interrupted, turns
from natscribe.subtitles.units import width

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
    """A cue before its times are chosen: the units `first` to `behind - 1` of a turn."""

    turn: Turn
    breaker: Breaker
    first: int
    behind: int

    @property
    def start(self) -> float:
        return self.turn.units[self.first].start

    @property
    def end(self) -> float:
        return self.turn.units[self.behind - 1].end


def cues(segments: Iterable[Segment], limits: SubtitleLimits, *, with_names: bool) -> list[Cue]:
    """Turn segments into cues, by time; `with_names` writes the speaker's name in a cue where the speaker changes."""
    drafts = sorted(_drafts(segments, limits, with_names=with_names), key=lambda draft: draft.start)
    texts = _texts(drafts, with_names=with_names)
    spoken = [
        Spoken(round(draft.start, 3), round(draft.end, 3), width(" ".join(lines)))
        for draft, lines in zip(drafts, texts, strict=True)
    ]
    return [
        Cue(start, end, lines, draft.turn.speaker)
        for (start, end), lines, draft in zip(shown(spoken, limits.max_cue_seconds), texts, drafts, strict=True)
    ]


def _drafts(segments: Iterable[Segment], limits: SubtitleLimits, *, with_names: bool) -> list[_Draft]:
    found = turns(segments, limits.max_line_chars)
    mixed = interrupted(found)
    drafts = []
    for place, turn in enumerate(found):
        changes = place == 0 or mixed[place - 1] or found[place - 1].speaker != turn.speaker
        name = _name(turn) if with_names and (changes or mixed[place]) else ""
        breaker = Breaker(turn, limits, name, name_each=mixed[place])
        drafts += [_Draft(turn, breaker, first, behind) for first, behind in breaker.cues()]
    return drafts


def _texts(drafts: Sequence[_Draft], *, with_names: bool) -> list[tuple[str, ...]]:
    texts = []
    speaker = None
    for draft in drafts:
        name = _name(draft.turn) if with_names and draft.turn.speaker != speaker else ""
        texts.append(draft.breaker.lines(draft.first, draft.behind, name))
        speaker = draft.turn.speaker
    return texts


def _name(turn: Turn) -> str:
    return f"{turn.speaker}: " if turn.speaker else ""
