"""Clips: sound with the stretches in which somebody speaks, and how one is cut for a model that hears less at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from app.engines.mixing import SAMPLE_RATE
from app.engines.samples import Samples

Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Clip:
    """Sound of at most 30 s, and where in it somebody speaks; seconds from its start."""

    samples: Samples
    speech: Sequence[Stretch]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / SAMPLE_RATE


def cut(clip: Clip, longest: float) -> list[tuple[float, Clip]]:
    """Cut a clip into parts of at most so many seconds, in its widest silence or in the middle; each with its start."""
    if clip.seconds <= longest:
        return [(0.0, clip)]
    (_, first), (place, second) = cut_in_two(clip, clip.seconds - longest, longest)
    return [*cut(first, longest), *((place + start, part) for start, part in cut(second, longest))]


def cut_in_two(clip: Clip, earliest: float = 0.0, latest: float = inf) -> list[tuple[float, Clip]]:
    """Cut a clip in its widest silence between two of its seconds, or near the middle; each part with its start."""
    place = _silence(clip, earliest, latest)
    return [(0.0, part_of(clip, 0.0, place)), (place, part_of(clip, place, clip.seconds))]


def _silence(clip: Clip, earliest: float, latest: float) -> float:
    ends = [end for _, end in clip.speech]
    starts = [start for start, _ in clip.speech]
    silences = [(start - end, (start + end) / 2) for end, start in zip(ends, starts[1:], strict=False)]
    possible = [silence for silence in silences if earliest <= silence[1] <= latest]
    if not possible:
        return clip.seconds / 2
    return max(possible, key=lambda silence: (silence[0], -abs(silence[1] - clip.seconds / 2)))[1]


def part_of(clip: Clip, start: float, end: float) -> Clip:
    """The part of a clip between two of its seconds."""
    samples = clip.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    within = [(max(a, start) - start, min(b, end) - start) for a, b in clip.speech if a < end and b > start]
    return Clip(samples, within)
