"""The input of a speech model: the samples of a window, or of a part of one, and how to cut them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.audio.timeline import Times


@dataclass(frozen=True, slots=True)
class WindowAudio:
    """The samples of a window, or of a part of one, at 16 kHz.

    `speech`: the start and end of each region of speech in it, in seconds from the first sample.
    """

    samples: Samples
    speech: Sequence[Times]

    @property
    def seconds(self) -> float:
        """The duration of the samples in seconds."""
        return len(self.samples) / SAMPLE_RATE


def cut_in_two(audio: WindowAudio) -> list[tuple[float, WindowAudio]]:
    """Cut audio in two at its widest pause, or in the middle if it is one region; return (start, part) for both parts.

    Starts are in seconds from the start of `audio`. If several pauses are the widest, the one nearest to the middle is
    chosen. In a whole window all pauses are equally wide, because the silence between its regions was removed.
    """
    pauses = [(start - end, (start + end) / 2) for (_, end), (start, _) in pairwise(audio.speech)]
    middle = audio.seconds / 2
    _, cut = max(pauses, key=lambda pause: (pause[0], -abs(pause[1] - middle)), default=(0.0, middle))
    return [(0.0, part_of(audio, 0.0, cut)), (cut, part_of(audio, cut, audio.seconds))]


def part_of(audio: WindowAudio, start: float, end: float) -> WindowAudio:
    """Return the part of `audio` from `start` to `end`, both in seconds from its start."""
    samples = audio.samples[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    speech = [(max(a, start) - start, min(b, end) - start) for a, b in audio.speech if a < end and b > start]
    return WindowAudio(samples, speech)
