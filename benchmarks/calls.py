"""Makes telephone calls of short messages: each channel has another language, and both have speech at the same time."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from tests.truth.recordings import RATE, Samples, Spoken, read, write

CALLS = 4
MESSAGES = 12  # in each channel, or fewer if there are fewer
PAUSE_S = (0.3, 1.2)  # shortest and longest pause behind a message


def write_calls(languages: Sequence[Sequence[Spoken]], folder: Path) -> list[tuple[Path, list[str]]]:
    """Write calls of messages, one language for each channel; return each call's path, and what its channels say.

    The calls are the same each time.
    """
    calls = []
    for number in range(CALLS):
        dice = Random(number)  # noqa: S311 -- no secret
        sides = [_side(messages, dice) for messages in languages]
        longest = max(len(samples) for samples, _ in sides)
        channels = [np.pad(samples, (0, longest - len(samples))) for samples, _ in sides]
        path = folder / f"call-{number}.wav"
        write(path, [np.stack(channels, axis=1)])
        calls.append((path, [words for _, words in sides]))
    return calls


def _side(messages: Sequence[Spoken], dice: Random) -> tuple[Samples, str]:
    chosen = dice.sample(sorted(messages, key=lambda message: message.path.stem), min(MESSAGES, len(messages)))
    spoken = [read(message.path) for message in chosen]
    pauses = [np.zeros(round(dice.uniform(*PAUSE_S) * RATE), np.int16) for _ in chosen]
    parts = [part for pair in zip(spoken, pauses, strict=True) for part in pair]
    return np.concatenate(parts), " ".join(message.words for message in chosen)
