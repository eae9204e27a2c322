"""Find the voices of different excerpts that belong to the same speaker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engines.diarization.chunk import SIZE, VOICES, Chunk
from app.engines.diarization.clustering import Labels, Weights, counts, cut, linkage
from app.engines.diarization.excerpts import PER_CHUNK

Embeddings = npt.NDArray[np.float32]

NOBODY = -1  # the label of a voice that belongs to no speaker

_THRESHOLD = 0.6  # largest average distance (1 - cosine of the embeddings) between the voices of one speaker
_SAME_EXCERPT = 0.3  # added to the distance of two voices of one excerpt: the segmentation network tells them apart
_RELIABLE_FRAMES = 30  # 0.5 s: only a voice that speaks alone for this long is clustered
_MOST = 4096  # most embeddings that are clustered; each other voice joins the most similar speaker
_SHARE = 0.01  # a speaker has at least this share of the frames of all voices, or _ENOUGH_FRAMES if that is less
_ENOUGH_FRAMES = 592  # 10 s of speech


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest number of speakers; null: no limit."""

    least: int | None
    most: int | None

    def nearest(self, found: int) -> int:
        """Return the number within the bounds that is nearest to `found`."""
        enough = max(found, self.least or found)
        return min(enough, self.most or enough)


@dataclass(frozen=True)
class Voices:
    """The voices that have an embedding, as parallel arrays.

    For each voice: its excerpt, its number in the excerpt, the frames in which it speaks alone, and its embedding of
    length 1.
    """

    excerpts: npt.NDArray[np.intp]
    numbers: npt.NDArray[np.intp]
    frames: Weights
    embeddings: Embeddings


def owners(chunks: Sequence[Chunk], bounds: Bounds) -> Labels:
    """Return the speaker of each voice as an array (excerpts, voices): a number from 0, or `NOBODY`."""
    voices = _voices_of(chunks)
    found = np.full((sum(len(chunk.activity) for chunk in chunks), VOICES), NOBODY, np.intp)
    if len(voices.embeddings):
        found[voices.excerpts, voices.numbers] = _nearest(voices, _centres(voices, bounds))
    return found


def _voices_of(chunks: Sequence[Chunk]) -> Voices:
    """Collect the voices of a recording, sorted by excerpt."""
    found = [(chunk.index * PER_CHUNK + p.excerpt, p) for chunk in chunks for p in chunk.embeddings]
    return Voices(
        np.array([excerpt for excerpt, _ in found], np.intp),
        np.array([p.voice for _, p in found], np.intp),
        np.array([p.frames for _, p in found], np.float32),
        _unit(np.array([p.values for _, p in found], np.float32).reshape(-1, SIZE)),
    )


def _nearest(voices: Voices, centres: Embeddings) -> Labels:
    """Return the most similar speaker for each voice.

    A voice with few frames gets a speaker who has no other voice in its excerpt yet, if there is such a speaker.
    """
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
    """Return the mean embedding of each speaker."""
    chosen = _reliable(voices.frames, bounds.least or 1)
    embeddings, weights = voices.embeddings[chosen], np.maximum(voices.frames[chosen], 1)
    labels = _clustered(embeddings, weights, voices.excerpts[chosen], bounds)
    roots = [root for root in np.unique(labels) if root != NOBODY]
    return _unit(np.array([weights[labels == root] @ embeddings[labels == root] for root in roots]))


def _reliable(frames: Weights, least: int) -> Labels:
    """Choose the voices to cluster: all that speak alone for long enough, and at least the `least` best voices."""
    best = np.argsort(-frames, kind="stable")[:_MOST]
    enough = max(int((frames[best] >= _RELIABLE_FRAMES).sum()), least)
    return np.sort(best[:enough])


def _clustered(embeddings: Embeddings, weights: Weights, excerpts: Labels, bounds: Bounds) -> Labels:
    """Return the cluster of each embedding, or `NOBODY` if the cluster is too small to be a speaker."""
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
    for apart in range(1, VOICES):  # voices are sorted by excerpt, so the voices of one excerpt are neighbours
        rows = np.flatnonzero(excerpts[apart:] == excerpts[:-apart])
        distances[rows, rows + apart] += _SAME_EXCERPT
        distances[rows + apart, rows] += _SAME_EXCERPT
    return distances


def _unit(embeddings: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: Embeddings = np.divide(embeddings, np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
    return unit
