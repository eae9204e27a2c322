"""Makes subtitles by the rules of broadcasters: short lines that end between phrases, cues that can be read in time.

A cue is the text that is displayed at one time. It has one speaker. Cues never overlap, even if people speak at the
same time: SubRip and the formats of broadcasters show one cue at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.transcription import Segment
from natscribe.subtitles.breaking import LineBreaker
from natscribe.subtitles.timing import CueSpeech, display_times
from natscribe.subtitles.turns import Turn, overlapped, turns
from natscribe.subtitles.units import width

__all__ = ["Cue", "cues"]


@dataclass(frozen=True, slots=True)
class Cue:
    """The lines of text that are displayed together, their display times in seconds, and their speaker."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None


@dataclass(frozen=True, slots=True)
class _UntimedCue:
    """A cue whose display times are not chosen yet: the units, i.e. words, from `first` to `stop - 1` of a turn.

    `breaker`: divides the text of this turn into lines.
    """

    turn: Turn
    breaker: LineBreaker
    first: int
    stop: int

    @property
    def start(self) -> float:
        return self.turn.units[self.first].start

    @property
    def end(self) -> float:
        return self.turn.units[self.stop - 1].end


def cues(segments: Iterable[Segment], limits: SubtitleLimits, *, with_names: bool) -> list[Cue]:
    """Return the cues for a transcript's segments, in order of time.

    `with_names`: whether the speaker's name is written at the start of each cue with which the speaker changes.
    """
    untimed = sorted(_untimed_cues(segments, limits, with_names=with_names), key=lambda cue: cue.start)
    texts = _texts(untimed, with_names=with_names)
    speech = [
        CueSpeech(round(cue.start, 3), round(cue.end, 3), width(" ".join(lines)))
        for cue, lines in zip(untimed, texts, strict=True)
    ]
    return [
        Cue(start, end, lines, cue.turn.speaker)
        for (start, end), lines, cue in zip(display_times(speech, limits.max_cue_seconds), texts, untimed, strict=True)
    ]


def _untimed_cues(segments: Iterable[Segment], limits: SubtitleLimits, *, with_names: bool) -> list[_UntimedCue]:
    all_turns = turns(segments, limits.max_line_chars)
    before: tuple[Turn | None, bool] = None, False
    untimed = []
    for turn, is_overlapped in zip(all_turns, overlapped(all_turns), strict=True):
        previous, was_overlapped = before
        needs_name = previous is None or was_overlapped or previous.speaker != turn.speaker or is_overlapped
        breaker = LineBreaker(turn, limits, _name(turn) if with_names and needs_name else "", name_each=is_overlapped)
        untimed += [_UntimedCue(turn, breaker, first, stop) for first, stop in breaker.cues()]
        before = turn, is_overlapped
    return untimed


def _texts(untimed: Sequence[_UntimedCue], *, with_names: bool) -> list[tuple[str, ...]]:
    texts = []
    speaker = None
    for cue in untimed:
        name = _name(cue.turn) if with_names and cue.turn.speaker != speaker else ""
        texts.append(cue.breaker.lines(cue.first, cue.stop, name))
        speaker = cue.turn.speaker
    return texts


def _name(turn: Turn) -> str:
    return f"{turn.speaker}: " if turn.speaker else ""
