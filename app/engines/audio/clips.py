"""Clips: up to 30 s of sound with the times of the regions in it, and functions that cut a clip into shorter ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Piece


@dataclass(frozen=True, slots=True)
class Clip:
    """Up to 30 s of sound, and when its regions start and end, in seconds from the clip's start."""

    samples: Samples
    speech: Sequence[Piece]

    @property
    def seconds(self) -> float:
        """The length of the clip, in seconds."""
        return len(self.samples) / SAMPLE_RATE


def cut_in_two(clip: Clip) -> list[tuple[float, Clip]]:
    """Cut a clip in its widest pause, or else in the middle; return both clips, each with its start in seconds."""
    place = _widest_pause(clip)
    return [(0.0, part_of(clip, 0.0, place)), (place, part_of(clip, place, clip.seconds))]


def _widest_pause(clip: Clip) -> float:
    """Return the middle of the widest pause, in seconds; if several are as wide, that nearest to the clip's middle."""
    pauses = [(start - end, (start + end) / 2) for (_, end), (start, _) in pairwise(clip.speech)]
    middle = clip.seconds / 2
    _, place = max(pauses, key=lambda pause: (pause[0], -abs(pause[1] - middle)), default=(0.0, middle))
    return place


def part_of(clip: Clip, start: float, end: float) -> Clip:
    """Return the clip from `start` to `end`, in seconds from the start of the given clip."""
    samples = clip.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    within = [(max(a, start) - start, min(b, end) - start) for a, b in clip.speech if a < end and b > start]
    return Clip(samples, within)
