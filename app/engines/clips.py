"""Clips: sound with its pieces of speech, and how a clip is cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.engines.mixing import SAMPLE_RATE
from app.engines.samples import Samples
from app.engines.timeline import Piece


@dataclass(frozen=True, slots=True)
class Clip:
    """Sound of at most 30 s, and where there is speech in it, in seconds from its start."""

    samples: Samples
    speech: Sequence[Piece]

    @property
    def seconds(self) -> float:
        """The length of the clip."""
        return len(self.samples) / SAMPLE_RATE


def cut_in_two(clip: Clip) -> list[tuple[float, Clip]]:
    """Cut a clip in its widest silence, or in the middle; return each part with its start."""
    place = _widest_silence(clip)
    return [(0.0, part_of(clip, 0.0, place)), (place, part_of(clip, place, clip.seconds))]


def _widest_silence(clip: Clip) -> float:
    """Find the middle of the widest silence; of several as wide, of the one nearest to the clip's middle."""
    silences = [(start - end, (start + end) / 2) for (_, end), (start, _) in pairwise(clip.speech)]
    middle = clip.seconds / 2
    _, place = max(silences, key=lambda silence: (silence[0], -abs(silence[1] - middle)), default=(0.0, middle))
    return place


def part_of(clip: Clip, start: float, end: float) -> Clip:
    """Return the part of a clip between two seconds of it."""
    samples = clip.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    within = [(max(a, start) - start, min(b, end) - start) for a, b in clip.speech if a < end and b > start]
    return Clip(samples, within)
