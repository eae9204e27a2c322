"""Match the speakers of a recording with the voices of a user."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Pair = tuple[str, str]  # two embeddings in base64: of the original audio, and of simulated telephone audio

# Telephones make strangers more similar by this (docs/decisions/0031), so it is subtracted from such similarities.
_TELEPHONE_BIAS: Final = 0.17
_IS_TELEPHONE: Final = 0.8  # if the two embeddings are this similar, the original audio is from a telephone


@dataclass(frozen=True, slots=True)
class Match:
    """The outcome of matching one speaker.

    `voice`: the voice of the speaker; None: the speaker has none of the user's voices. `score`: the similarity of the
    speaker and the most similar voice of the user, at most 1.
    """

    voice: str | None
    score: float


@dataclass(frozen=True, slots=True)
class _Embeddings:
    """The two embeddings of several speakers or references: one row each, of norm 1."""

    full: Vectors
    telephone: Vectors

    @classmethod
    def decode(cls, pairs: Sequence[Pair]) -> "_Embeddings":
        return cls(_normalized([full for full, _ in pairs]), _normalized([telephone for _, telephone in pairs]))

    @property
    def is_telephone(self) -> npt.NDArray[np.bool_]:
        result: npt.NDArray[np.bool_] = _row_products(self.full, self.telephone) >= _IS_TELEPHONE
        return result


def match(
    speakers: Mapping[str, Pair], voices: Mapping[str, Sequence[Pair]], *, threshold: float, margin: float
) -> dict[str, Match]:
    """Match each speaker with a voice by the most similar reference; return nothing if there are no voices.

    `voices`: the references of each voice, at least one. `threshold`: the least similarity of a speaker and a voice.
    `margin`: the least difference to the similarity of any other voice. If one voice is the most similar for two
    speakers, only the more similar speaker is matched with it.
    """
    if not speakers or not voices:
        return {}
    names, labels = list(voices), list(speakers)
    firsts = np.cumsum([0, *(len(voices[name]) for name in names[:-1])])
    references = _Embeddings.decode([reference for name in names for reference in voices[name]])
    by_reference = _similarities(_Embeddings.decode(list(speakers.values())), references)
    similarities = np.maximum.reduceat(by_reference, firsts, axis=1)
    best = similarities.argmax(axis=1)
    scores = similarities.max(axis=1)
    second = np.partition(similarities, -2, axis=1)[:, -2] if len(names) > 1 else np.full(len(labels), -np.inf)
    sure = (scores >= threshold) & (scores - second >= margin)
    matches, taken = dict[str, Match](), set[int]()
    for number in np.argsort(-scores, kind="stable"):
        is_match = bool(sure[number]) and int(best[number]) not in taken
        taken |= {int(best[number])} if is_match else set()
        matches[labels[number]] = Match(names[best[number]] if is_match else None, float(scores[number]))
    return matches


def _similarities(speakers: _Embeddings, references: _Embeddings) -> Vectors:
    """Return the similarity of each speaker and each reference (speakers, references).

    Two pairs of embeddings are compared: as recorded, and in telephone bandwidth. The more similar pair counts.
    """
    both = speakers.is_telephone[:, np.newaxis] & references.is_telephone
    full = _all_products(speakers.full, references.full) - _TELEPHONE_BIAS * both
    telephone = _all_products(speakers.telephone, references.telephone) - _TELEPHONE_BIAS
    result: Vectors = np.maximum(full, telephone).astype(np.float32)
    return result


def _all_products(first: Vectors, second: Vectors) -> Vectors:
    """Return the dot product of each row of `first` with each row of `second`; the threads of `@` would take longer."""
    result: Vectors = np.einsum("sj,rj->sr", first, second)
    return result


def _normalized(embeddings: Sequence[str]) -> Vectors:
    """Decode embeddings as vectors of norm 1, all at once: a user may have ten thousand."""
    values = np.frombuffer(b64decode("".join(embeddings)), np.int8)  # none of them ends with padding
    vectors = values.reshape(len(embeddings), -1).astype(np.float32)
    vectors /= np.sqrt(np.maximum(_row_products(vectors, vectors), 1.0))[:, np.newaxis]
    return vectors


def _row_products(first: Vectors, second: Vectors) -> Vectors:
    """Return the dot product of each row of `first` with the corresponding row of `second`."""
    result: Vectors = np.einsum("ij,ij->i", first, second)
    return result
