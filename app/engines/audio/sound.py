"""What a model transcribes: the sound of a window or of a part of one, and functions that cut it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Times


@dataclass(frozen=True, slots=True)
class Sound:
    """The sound of a window or of a part of one, and when its regions start and end, in seconds from its own start."""

    samples: Samples
    speech: Sequence[Times]

    @property
    def seconds(self) -> float:
        """The length of the sound, in seconds."""
        return len(self.samples) / SAMPLE_RATE


def cut_in_two(sound: Sound) -> list[tuple[float, Sound]]:
    """Cut a sound in its widest pause, or else in the middle; return both sounds, each with its start in seconds."""
    place = _widest_pause(sound)
    return [(0.0, part_of(sound, 0.0, place)), (place, part_of(sound, place, sound.seconds))]


def _widest_pause(sound: Sound) -> float:
    """Return the middle of the widest pause, in seconds; if several are as wide, that nearest to the sound's middle."""
    pauses = [(start - end, (start + end) / 2) for (_, end), (start, _) in pairwise(sound.speech)]
    middle = sound.seconds / 2
    _, place = max(pauses, key=lambda pause: (pause[0], -abs(pause[1] - middle)), default=(0.0, middle))
    return place


def part_of(sound: Sound, start: float, end: float) -> Sound:
    """Return the sound from `start` to `end`, in seconds from the start of the given sound."""
    samples = sound.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    within = [(max(a, start) - start, min(b, end) - start) for a, b in sound.speech if a < end and b > start]
    return Sound(samples, within)
