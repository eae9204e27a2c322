"""Audio that is loud or silent, and a voice detector that takes what is loud for speech."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.windows import FRAME

Samples = npt.NDArray[np.float32]
RATE = SAMPLE_RATE / FRAME
_DIFFERENT = (1 + np.arange(1009) / 10_000).astype(np.float32)


def loudness(samples: Samples) -> npt.NDArray[np.float32]:
    """A voice detector that is just sure enough that whatever is loud is speech."""
    return np.asarray(samples.reshape(-1, FRAME).any(axis=1) * 0.5, np.float32)


def samples_of(*intervals: tuple[float, float]) -> Samples:
    """Samples with the loudness and seconds of each interval, in whole frames; each sample is another one."""
    levels = [np.full(round(length * RATE) * FRAME, level, np.float32) for level, length in intervals]
    joined = np.concatenate(levels)
    return joined * np.resize(_DIFFERENT, len(joined))


def conversation(seed: int, intervals: int, speech: float = 6.0, silence: float = 1.5) -> Samples:
    """Silence and speech in turn, of random lengths with these means, in seconds; clicks in some of the silences."""
    random = np.random.default_rng(seed)

    def parts() -> Iterator[tuple[float, float]]:
        for at in range(intervals):
            yield float(at % 2), float(random.exponential(speech if at % 2 else silence)) + 0.2
            if random.random() < 0.1:
                yield from ((0.0, 0.7), (1.0, 2 / RATE), (0.0, 0.7))

    return samples_of(*parts())


def frames_missed(samples: Samples, regions: Sequence[tuple[float, float]]) -> int:
    """The length of the longest run of loud frames outside of these regions, which are in seconds."""
    inside = np.zeros(len(samples), bool)
    for start, end in regions:
        inside[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = True
    missed = loudness(samples)[~inside[::FRAME]] > 0
    runs = np.split(missed, np.flatnonzero(np.diff(missed)) + 1)
    return max((len(run) for run in runs if run.any()), default=0)
