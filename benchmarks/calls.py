"""Telephone calls put together of short messages: another language in each channel, both speak at the same time."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from benchmarks.recordings import RATE, Samples, read, write

CALLS = 4
MESSAGES = 12  # in each channel, or fewer if there are fewer
PAUSE_S = (0.3, 1.2)  # shortest and longest pause behind a message


def write_calls(listings: Sequence[Path], folder: Path) -> list[tuple[Path, list[str]]]:
    """Write calls of the messages in these listings, one listing for each channel; return each call's path and words.

    The calls are the same each time.
    """
    made = []
    for number in range(CALLS):
        dice = Random(number)  # noqa: S311 -- nothing is kept secret
        sides = [_side(listing, dice) for listing in listings]
        longest = max(len(samples) for samples, _ in sides)
        channels = [np.pad(samples, (0, longest - len(samples))) for samples, _ in sides]
        path = folder / f"call-{number}.wav"
        write(path, [np.stack(channels, axis=1)])
        made.append((path, [words for _, words in sides]))
    return made


def _side(listing: Path, dice: Random) -> tuple[Samples, str]:
    texts: dict[str, str] = json.loads(listing.read_text(encoding="utf-8"))
    names = dice.sample(sorted(texts), min(MESSAGES, len(texts)))
    messages = [read(listing.with_name(f"{name}.flac")) for name in names]
    pauses = [np.zeros(round(dice.uniform(*PAUSE_S) * RATE), np.int16) for _ in names]
    parts = [part for pair in zip(messages, pauses, strict=True) for part in pair]
    return np.concatenate(parts), " ".join(texts[name] for name in names)
