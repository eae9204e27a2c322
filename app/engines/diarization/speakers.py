"""Speakers: which voices of all excerpts belong to one person."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engines.diarization.chunk import SIZE, VOICES, Chunk
from app.engines.diarization.clustering import Labels, Weights, counts, cut, linkage
from app.engines.diarization.excerpts import PER_CHUNK

Embeddings = npt.NDArray[np.float32]

NOBODY = -1

_THRESHOLD = 0.6  # how far apart voices are, on average, to be two speakers: 1 less the cosine of their embeddings
_SAME_EXCERPT = 0.3  # added between two voices of one excerpt, which the segmentation network distinguished
_RELIABLE_FRAMES = 30  # half a second: an embedding of less decides nothing
_MOST = 4096  # embeddings that are clustered; any others join the speaker that they are most like
_SHARE, _ENOUGH_FRAMES = (
    0.01,
    592,
)  # of all frames; 10 s of speech: a voice with fewer frames than the smaller of the two is no speaker


@dataclass(frozen=True)
class Bounds:
    """How many speakers there may be; null: any number."""

    least: int | None
    most: int | None

    def nearest(self, found: int) -> int:
        """Move the number that was found into the bounds."""
        enough = max(found, self.least or found)
        return min(enough, self.most or enough)


@dataclass(frozen=True)
class Voices:
    """All voices with an embedding: their excerpts, numbers there, frames alone, and embeddings of length 1."""

    excerpts: npt.NDArray[np.intp]
    numbers: npt.NDArray[np.intp]
    frames: Weights
    embeddings: Embeddings


def owners(chunks: Sequence[Chunk], bounds: Bounds) -> Labels:
    """Find the speaker of each voice (excerpts, voices), from 0; `NOBODY` where there is none."""
    voices = _voices_of(chunks)
    found = np.full((sum(len(chunk.activity) for chunk in chunks), VOICES), NOBODY, np.intp)
    if len(voices.embeddings):
        found[voices.excerpts, voices.numbers] = _nearest(voices, _centres(voices, bounds))
    return found


def _voices_of(chunks: Sequence[Chunk]) -> Voices:
    """Collect the voices of a recording, in order."""
    found = [(chunk.index * PER_CHUNK + p.excerpt, p) for chunk in chunks for p in chunk.embeddings]
    return Voices(
        np.array([excerpt for excerpt, _ in found], np.intp),
        np.array([p.voice for _, p in found], np.intp),
        np.array([p.frames for _, p in found], np.float32),
        _unit(np.array([p.values for _, p in found], np.float32).reshape(-1, SIZE)),
    )


def _nearest(voices: Voices, centres: Embeddings) -> Labels:
    """Find the speaker that each voice is most like; a doubtful voice gets no speaker whom its excerpt has already."""
    alike = voices.embeddings @ centres.T
    found: Labels = alike.argmax(axis=1)
    for rows in np.split(np.arange(len(found)), np.flatnonzero(np.diff(voices.excerpts)) + 1):
        taken: set[int] = set()
        for row in sorted(rows, key=lambda row: -voices.frames[row]):
            if voices.frames[row] < _RELIABLE_FRAMES and len(taken) < len(centres):
                alike[row, list(taken)] = -np.inf
                found[row] = alike[row].argmax()
            taken.add(int(found[row]))
    return found


def _centres(voices: Voices, bounds: Bounds) -> Embeddings:
    """Find the mean embedding of each speaker."""
    chosen = _reliable(voices.frames, bounds.least or 1)
    embeddings, weights = voices.embeddings[chosen], np.maximum(voices.frames[chosen], 1)
    labels = _clustered(embeddings, weights, voices.excerpts[chosen], bounds)
    roots = [root for root in np.unique(labels) if root != NOBODY]
    return _unit(np.array([weights[labels == root] @ embeddings[labels == root] for root in roots]))


def _reliable(frames: Weights, least: int) -> Labels:
    """Choose the voices to cluster: those that speak alone for long enough, or the best there are."""
    best = np.argsort(-frames, kind="stable")[:_MOST]
    enough = max(int((frames[best] >= _RELIABLE_FRAMES).sum()), least)
    return np.sort(best[:enough])


def _clustered(embeddings: Embeddings, weights: Weights, excerpts: Labels, bounds: Bounds) -> Labels:
    """Find the cluster of each embedding; `NOBODY` where a cluster is too small to be a speaker."""
    merges = linkage(_distances(embeddings, excerpts))
    least = min(_SHARE * float(weights.sum()), _ENOUGH_FRAMES)
    speakers = counts(weights, merges, least)
    near = sum(merge.distance <= _THRESHOLD for merge in merges)
    wanted = bounds.nearest(speakers[near])
    if wanted != speakers[near]:
        fitting = [done for done, count in enumerate(speakers) if count == wanted]
        near, least = (fitting[-1], least) if fitting else (max(len(embeddings) - wanted, 0), 0)
    labels = cut(weights, merges[:near])
    frames = np.bincount(labels, weights, len(labels))[labels]
    return np.where(frames >= least, labels, NOBODY)


def _distances(embeddings: Embeddings, excerpts: Labels) -> Embeddings:
    distances: Embeddings = np.subtract(1, embeddings @ embeddings.T, dtype=np.float32)
    for apart in range(1, VOICES):  # voices come in order, so those of one excerpt are neighbours
        rows = np.flatnonzero(excerpts[apart:] == excerpts[:-apart])
        distances[rows, rows + apart] += _SAME_EXCERPT
        distances[rows + apart, rows] += _SAME_EXCERPT
    return distances


def _unit(embeddings: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: Embeddings = np.divide(embeddings, np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
    return unit
