"""Compare the speakers of a recording with the voices of a user."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Pair = tuple[str, str]  # two embeddings: of speech as it sounds, and as a telephone transmits it: in base64

# On a telephone strangers are more alike by this (docs/decisions/0031): what is alike there counts for so much less.
_TELEPHONES_ALIKE: Final = 0.17
_IS_TELEPHONE: Final = 0.8  # speech whose two embeddings are so alike came through a telephone already


@dataclass(frozen=True, slots=True)
class Match:
    """The voice of a speaker, null if it is none of the user's voices.

    `score`: how alike the speaker and the most similar voice of the user are, at most 1.
    """

    voice: str | None
    score: float


@dataclass(frozen=True, slots=True)
class MatchLimits:
    """How alike a speaker and a voice have to be, and by how much less each other voice has to be like the speaker."""

    threshold: float
    margin: float


@dataclass(frozen=True, slots=True)
class _Speech:
    """The two embeddings of several speakers or references: a row for each, of length 1."""

    full: Vectors
    telephone: Vectors

    @classmethod
    def read(cls, embedded: Sequence[Pair]) -> "_Speech":
        return cls(_unit([full for full, _ in embedded]), _unit([telephone for _, telephone in embedded]))

    @property
    def is_telephone(self) -> npt.NDArray[np.bool_]:
        alike: npt.NDArray[np.bool_] = _products(self.full, self.telephone) >= _IS_TELEPHONE
        return alike


def match(speakers: Mapping[str, Pair], voices: Mapping[str, Sequence[Pair]], limits: MatchLimits) -> dict[str, Match]:
    """Return whose voice each speaker has, by the most similar reference; an empty answer if there are no voices.

    `voices`: the references of each voice, at least one. If two speakers are most like the same voice, only the more
    similar speaker has this voice.
    """
    if not speakers or not voices:
        return {}
    names, labels = list(voices), list(speakers)
    firsts = np.cumsum([0, *(len(voices[name]) for name in names[:-1])])
    references = _Speech.read([each for name in names for each in voices[name]])
    alike = np.maximum.reduceat(_alike(_Speech.read(list(speakers.values())), references), firsts, axis=1)
    best = alike.argmax(axis=1)
    scores = alike.max(axis=1)
    second = np.partition(alike, -2, axis=1)[:, -2] if len(names) > 1 else np.full(len(labels), -np.inf)
    sure = (scores >= limits.threshold) & (scores - second >= limits.margin)
    found, taken = dict[str, Match](), set[int]()
    for number in np.argsort(-scores, kind="stable"):
        is_named = bool(sure[number]) and int(best[number]) not in taken
        taken |= {int(best[number])} if is_named else set()
        found[labels[number]] = Match(names[best[number]] if is_named else None, float(scores[number]))
    return found


def _alike(speakers: _Speech, references: _Speech) -> Vectors:
    """Return how alike each speaker and each reference are, by the more similar of their two pairs of embeddings.

    Shape: (speakers, references).
    """
    both = speakers.is_telephone[:, np.newaxis] & references.is_telephone
    full = _of_each_two(speakers.full, references.full) - _TELEPHONES_ALIKE * both
    telephone = _of_each_two(speakers.telephone, references.telephone) - _TELEPHONES_ALIKE
    found: Vectors = np.maximum(full, telephone).astype(np.float32)
    return found


def _of_each_two(one: Vectors, other: Vectors) -> Vectors:
    """Return the scalar product of each row of `one` with each row of `other`; the threads of `@` would take longer."""
    found: Vectors = np.einsum("sj,rj->sr", one, other)
    return found


def _unit(embeddings: Sequence[str]) -> Vectors:
    """Read embeddings as vectors of length 1, all at once: a user may have ten thousand."""
    values = np.frombuffer(b64decode("".join(embeddings)), np.int8)  # none of them ends with padding
    vectors = values.reshape(len(embeddings), -1).astype(np.float32)
    vectors /= np.sqrt(np.maximum(_products(vectors, vectors), 1.0))[:, np.newaxis]
    return vectors


def _products(one: Vectors, other: Vectors) -> Vectors:
    """Return the scalar product of each row of `one` with the row of `other` that has the same number."""
    found: Vectors = np.einsum("ij,ij->i", one, other)
    return found
