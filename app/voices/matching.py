"""Compare the speakers of a recording with enrolled voices."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Match:
    """The voice of a speaker; null: nobody's. `score`: how alike speaker and most similar voice are, 1 is equal."""

    voice: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Limits:
    """How alike a speaker and a voice have to be, and by how much more than the speaker and any other voice."""

    threshold: float
    margin: float


def match(speakers: Mapping[str, str], voices: Mapping[str, Sequence[str]], limits: Limits) -> dict[str, Match]:
    """Return whose voice each speaker has, the most similar reference deciding; no voice is that of two speakers.

    `speakers`: the embedding of each, in base64. `voices`: the embeddings of each voice, one at least.
    """
    if not speakers or not voices:
        return {}
    names = list(voices)
    firsts = np.cumsum([0, *(len(voices[name]) for name in names[:-1])])
    references = _unit([values for name in names for values in voices[name]])
    scores = np.maximum.reduceat(_unit(list(speakers.values())) @ references.T, firsts, axis=1)
    best = scores.argmax(axis=1)
    found, taken = dict[str, Match](), set[int]()
    by_score = sorted(range(len(best)), key=lambda number: -float(scores[number, best[number]]))
    labels = list(speakers)
    for number in by_score:
        voice, score = int(best[number]), float(scores[number, best[number]])
        second = float(np.delete(scores[number], voice).max(initial=-1.0))
        is_sure = score >= limits.threshold and score - second >= limits.margin and voice not in taken
        found[labels[number]] = Match(names[voice] if is_sure else None, score)
        taken |= {voice} if is_sure else set()
    return {label: found[label] for label in labels}


def _unit(embeddings: Sequence[str]) -> Vectors:
    """Read embeddings as vectors of length 1."""
    values = np.frombuffer(b"".join(map(b64decode, embeddings)), np.int8).reshape(len(embeddings), -1)
    vectors = values.astype(np.float32)
    found: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1.0)
    return found
