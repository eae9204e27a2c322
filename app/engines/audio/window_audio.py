"""What a speech model transcribes: the sound of a window, or of a part of one, and how it is cut."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Times


@dataclass(frozen=True, slots=True)
class WindowAudio:
    """The sound of a window, or of a part of one.

    `speech`: when its regions start and end, in seconds from the start of this sound.
    """

    samples: Samples
    speech: Sequence[Times]

    @property
    def seconds(self) -> float:
        """The length of the sound, in seconds."""
        return len(self.samples) / SAMPLE_RATE


def cut_in_two(sound: WindowAudio) -> list[tuple[float, WindowAudio]]:
    """Cut a sound in its widest pause, or in the middle if it is one region; return both parts with their starts.

    A start is in seconds from the start of the sound. The regions of a window touch, so it is cut between two regions,
    as near to its middle as possible.
    """
    place = _widest_pause(sound)
    return [(0.0, part_of(sound, 0.0, place)), (place, part_of(sound, place, sound.seconds))]


def _widest_pause(sound: WindowAudio) -> float:
    """Return the middle of the widest pause, in seconds; of pauses that are as wide, that nearest to the middle."""
    pauses = [(start - end, (start + end) / 2) for (_, end), (start, _) in pairwise(sound.speech)]
    middle = sound.seconds / 2
    _, place = max(pauses, key=lambda pause: (pause[0], -abs(pause[1] - middle)), default=(0.0, middle))
    return place


def part_of(sound: WindowAudio, start: float, end: float) -> WindowAudio:
    """Return the part of a sound from `start` to `end`, which are in seconds from its start."""
    samples = sound.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    within = [(max(a, start) - start, min(b, end) - start) for a, b in sound.speech if a < end and b > start]
    return WindowAudio(samples, within)
