"""Clips: up to 30 s of sound with the times of the speech in it, and functions that cut a clip into shorter ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Piece


@dataclass(frozen=True, slots=True)
class Clip:
    """Up to 30 s of sound, and its pieces of speech, in seconds from the clip's start."""

    samples: Samples
    speech: Sequence[Piece]

    @property
    def seconds(self) -> float:
        """The length of the clip, in seconds."""
        return len(self.samples) / SAMPLE_RATE


def cut_in_two(clip: Clip) -> list[tuple[float, Clip]]:
    """Cut a clip in its widest silence, or else in the middle; return each part with its start in seconds."""
    place = _widest_silence(clip)
    return [(0.0, part_of(clip, 0.0, place)), (place, part_of(clip, place, clip.seconds))]


def _widest_silence(clip: Clip) -> float:
    """Return the middle of the widest silence, in seconds; if several are as wide, of the one nearest to the middle."""
    silences = [(start - end, (start + end) / 2) for (_, end), (start, _) in pairwise(clip.speech)]
    middle = clip.seconds / 2
    _, place = max(silences, key=lambda silence: (silence[0], -abs(silence[1] - middle)), default=(0.0, middle))
    return place


def part_of(clip: Clip, start: float, end: float) -> Clip:
    """Return the part of a clip from `start` to `end`, in seconds."""
    samples = clip.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    within = [(max(a, start) - start, min(b, end) - start) for a, b in clip.speech if a < end and b > start]
    return Clip(samples, within)
