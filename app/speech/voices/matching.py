"""Match the speakers of a recording with the voices of a user, i.e. enrolled people, by their embeddings."""

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engines.diarization import VOICE_NETWORK

Vectors = npt.NDArray[np.float32]
Pair = tuple[str, str]  # two embeddings in base64: of the original audio, and of simulated telephone audio
Speaker = tuple[str, str, float]  # the same, and the agreement of the embeddings of which the first one is the mean


@dataclass(frozen=True, slots=True)
class Match:
    """The outcome of matching one speaker.

    `voice`: the id of the voice that matches the speaker; None: no voice of the user does. `score`: the similarity (up
    to 1) between the speaker and the most similar voice of the user.
    """

    voice: str | None
    score: float


@dataclass(frozen=True, slots=True)
class _Embeddings:
    """The embeddings of several speakers or references, two of each.

    `full`: of the original audio. `telephone`: of the same audio, limited to telephone bandwidth. Each array has the
    shape (speakers or references, dimensions); its rows are L2-normalized.
    """

    full: Vectors
    telephone: Vectors

    @classmethod
    def decode(cls, pairs: Sequence[Pair]) -> "_Embeddings":
        return cls(_normalized([full for full, _ in pairs]), _normalized([telephone for _, telephone in pairs]))

    @property
    def is_telephone(self) -> npt.NDArray[np.bool_]:
        result: npt.NDArray[np.bool_] = _row_products(self.full, self.telephone) >= VOICE_NETWORK.is_telephone
        return result


def match(
    speakers: Mapping[str, Speaker], voices: Mapping[str, Sequence[Pair]], *, threshold: float, margin: float
) -> dict[str, Match]:
    """Match each speaker with the voice that has the most similar reference; return {} if there are no voices.

    `speakers`: the embeddings of each speaker and their agreement, by label. The agreement is the norm of the mean of
    the normalized embeddings of the speaker's speech: 1 if all are the same, and towards 0 the less similar they are,
    as when two people share the label. `voices`: the embeddings of the references of each voice, by id; at least one
    reference each. `threshold`: the least similarity for a match. `margin`: by how much every other voice must be less
    similar. If a voice is the most similar one for two speakers, only the more similar speaker can match.
    """
    if not speakers or not voices:
        return {}
    names, labels = list(voices), list(speakers)
    firsts = np.cumsum([0, *(len(voices[name]) for name in names[:-1])])
    references = _Embeddings.decode([reference for name in names for reference in voices[name]])
    decoded = _Embeddings.decode([(full, telephone) for full, telephone, _ in speakers.values()])
    agreements = np.array([agreement for *_, agreement in speakers.values()])
    agreements *= np.linalg.norm(_all_products(decoded.full, VOICE_NETWORK.whitening), axis=1)
    by_reference = _similarities(decoded, references, agreements >= VOICE_NETWORK.min_whitened_agreement)
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


def _similarities(speakers: _Embeddings, references: _Embeddings, agree: npt.NDArray[np.bool_]) -> Vectors:
    """Return the similarity of each speaker to each reference, shape (speakers, references).

    It is the larger of two similarities: that of the embeddings of the audio as recorded, and that of the embeddings of
    the same audio limited to telephone bandwidth. The latter are whitened unless a speaker may be two people, i.e. does
    not `agree`, shape (speakers,): the whitened embedding of a label that two people share is often similar to both.
    """
    both = speakers.is_telephone[:, np.newaxis] & references.is_telephone
    full = _all_products(speakers.full, references.full) - VOICE_NETWORK.telephone_bias * both
    telephone = _all_products(speakers.telephone, references.telephone) - VOICE_NETWORK.telephone_bias
    if agree.any():
        telephone[agree] = _all_products(_whitened(speakers.telephone[agree]), _whitened(references.telephone))
    result: Vectors = np.maximum(full, telephone).astype(np.float32)
    return result


def _whitened(vectors: Vectors) -> Vectors:
    """Multiply vectors, shape (vectors, dimensions), by the whitening matrix, and scale them to norm 1."""
    result = _all_products(vectors, VOICE_NETWORK.whitening)  # which is symmetric
    result /= np.maximum(np.linalg.norm(result, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return result


def _all_products(first: Vectors, second: Vectors) -> Vectors:
    """Return the dot product of each row of `first` with each row of `second`, shape (rows, rows).

    `@` would use several threads, and take longer.
    """
    result: Vectors = np.einsum("sj,rj->sr", first, second)
    return result


def _normalized(embeddings: Sequence[str]) -> Vectors:
    """Decode embeddings in base64 to vectors of norm 1, shape (embeddings, dimensions).

    All embeddings are decoded at once, because the voices of a user may have ten thousand of them.
    """
    values = np.frombuffer(b64decode("".join(embeddings)), np.int8)  # none of them ends with padding
    vectors = values.reshape(len(embeddings), -1).astype(np.float32)
    vectors /= np.sqrt(np.maximum(_row_products(vectors, vectors), 1.0))[:, np.newaxis]
    return vectors


def _row_products(first: Vectors, second: Vectors) -> Vectors:
    """Return the dot product of each row of `first` with the corresponding row of `second`, shape (rows,)."""
    result: Vectors = np.einsum("ij,ij->i", first, second)
    return result
