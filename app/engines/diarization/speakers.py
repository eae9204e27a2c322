"""Find the speakers of a recording: cluster its embeddings, so that each cluster is a speaker."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE, ChunkAnalysis
from app.engines.diarization.clustering import (
    Labels,
    Merge,
    Weights,
    centroid_distances,
    cluster_counts,
    cut,
    linkage,
    merge_by_centroids,
)
from app.engines.diarization.regions import EMBEDDING_STEP_FRAMES
from app.engines.diarization.windows import STEP_FRAMES, WINDOWS_PER_CHUNK

Vectors = npt.NDArray[np.float32]

_NEAR = 0.62  # largest average distance (1 - cosine of the vectors) between the embeddings of one cluster
_SAME = 0.46  # largest distance between the centres of two clusters of one speaker
_SPLIT = 0.25  # smallest distance between the centres of clusters that are taken apart as more speakers are wanted
_RELIABLE_FRAMES = 45  # 0.75 s: only an embedding of this length is clustered
_MOST = 4096  # most embeddings that are clustered, evenly spread over the recording
# A speaker has at least this share of the speech: at least _FEWEST_FRAMES of it, and no more than _ENOUGH_FRAMES.
_SHARE = 0.03
_FEWEST_FRAMES, _ENOUGH_FRAMES = 41, 592  # 0.7 s, 10 s


@dataclass(frozen=True)
class SpeakerBounds:
    """The least and the greatest number of speakers that a task allows; null: no limit."""

    least: int | None
    most: int | None

    def nearest(self, found: int) -> int:
        """Return the number within the bounds that is nearest to `found`."""
        enough = max(found, self.least or 0)
        return min(enough, self.most or enough)


@dataclass(frozen=True)
class Embeddings:
    """All embeddings of a recording's regions by time, as parallel arrays.

    `starts` and `ends` are in frames from the start of the recording; `vectors` have the length 1.
    """

    starts: Labels
    ends: Labels
    vectors: Vectors

    @property
    def lengths(self) -> Labels:
        """How many frames of sound each embedding was made from."""
        return self.ends - self.starts


def collect_embeddings(chunks: Sequence[ChunkAnalysis]) -> Embeddings:
    """Collect the embeddings of all chunks of a recording."""
    found = [(chunk.index * WINDOWS_PER_CHUNK * STEP_FRAMES, each) for chunk in chunks for each in chunk.embeddings]
    return Embeddings(
        np.array([first + each.start for first, each in found], np.intp),
        np.array([first + each.end for first, each in found], np.intp),
        normalized(np.array([each.values for _, each in found], np.float32).reshape(-1, EMBEDDING_SIZE)),
    )


def speaker_centroids(embeddings: Embeddings, chunks: Sequence[ChunkAnalysis], bounds: SpeakerBounds) -> Vectors:
    """Return the centre of each speaker, of length 1 (speakers, 192); there is none if nobody speaks.

    If nobody speaks alone anywhere, the embeddings of voices that speak while others speak are used.
    """
    chosen = _chosen(embeddings.lengths, bounds.least or 0)
    vectors = embeddings.vectors[chosen]
    weights = np.minimum(embeddings.lengths[chosen], EMBEDDING_STEP_FRAMES).astype(np.float32)
    if not len(vectors):
        vectors = normalized(
            np.array([v.values for c in chunks for v in c.voices], np.float32).reshape(-1, EMBEDDING_SIZE)
        )
        vectors = vectors[_spread(len(vectors))]
        weights = np.full(len(vectors), EMBEDDING_STEP_FRAMES, np.float32)
    if not len(vectors):
        return vectors
    labels = _clustered(vectors, weights, bounds)
    roots = np.unique(labels[labels >= 0])
    return normalized(np.array([weights[labels == root] @ vectors[labels == root] for root in roots]))


def _chosen(lengths: Labels, least: int) -> Labels:
    """Return the numbers of the embeddings to cluster: those of 0.75 s or more, if they hold half of the speech.

    If they hold less, all embeddings are chosen. If they are fewer than `least`, the longest others are chosen, too. At
    most `_MOST` are chosen, evenly spread over the recording.
    """
    longest = np.argsort(-lengths, kind="stable")
    reliable = lengths >= _RELIABLE_FRAMES
    most = 2 * lengths[reliable].sum() >= lengths.sum()
    enough = max(int(reliable.sum()), least) if most else len(lengths)
    chosen = np.sort(longest[:enough])
    return chosen[_spread(len(chosen))]


def _spread(count: int) -> Labels:
    """Return at most `_MOST` numbers below `count`, evenly spread."""
    return np.linspace(0, max(count - 1, 0), min(count, _MOST)).astype(np.intp)


def _clustered(vectors: Vectors, weights: Weights, bounds: SpeakerBounds) -> Labels:
    """Return the cluster of each embedding; -1: the cluster is too small to be a speaker.

    First, embeddings are merged by average linkage, which tolerates how much the embeddings of one person differ. Then
    clusters are merged by the distance of their centres, which keeps people apart who sound alike. At last, `bounds`
    may ask for more merges, or for fewer.
    """
    near = [each for each in linkage(_distances(vectors)) if each.distance <= _NEAR]
    by_centres = merge_by_centroids(vectors, weights, cut(weights, near))
    far = next((number for number, each in enumerate(by_centres) if each.distance > _SAME), len(by_centres))
    merges = [*near, *by_centres]
    done, speakers = _within(bounds, weights, merges, len(near) + far)
    missing = max(speakers - (len(weights) - done), 0)  # first the clusters that are too small become speakers
    labels = cut(weights, _split(vectors, weights, merges[:done], missing))
    heaviest = np.argsort(-np.bincount(labels, weights), kind="stable")[:speakers]
    return np.where(np.isin(labels, heaviest), labels, -1)


def _within(bounds: SpeakerBounds, weights: Weights, merges: Sequence[Merge], done: int) -> tuple[int, int]:
    """Return how many merges to do, and how many speakers there shall be: as many as are found, within `bounds`.

    `done`: how many of the `merges` are near enough. If they leave more speakers than `bounds` allow, more are done.
    """
    heaviest = float(np.bincount(cut(weights, merges[:done]), weights).max())
    least = min(max(_SHARE * float(weights.sum()), _FEWEST_FRAMES), _ENOUGH_FRAMES, heaviest)
    speakers = cluster_counts(weights, merges, least)
    wanted = bounds.nearest(speakers[done])
    enough = next((number for number in range(done, len(speakers)) if speakers[number] <= wanted), len(merges))
    return enough, wanted


def _split(vectors: Vectors, weights: Weights, merges: Sequence[Merge], missing: int) -> list[Merge]:
    """Return the merges but for up to `missing`: those whose centres are farthest apart, which may join two people.

    A merge whose centres are near each other stays, because without it one person would become two speakers.
    """
    distances = centroid_distances(vectors, weights, merges) if missing else []
    farthest = sorted(range(len(distances)), key=lambda number: -distances[number])[:missing]
    left_out = {number for number in farthest if distances[number] > _SPLIT}
    return [merge for number, merge in enumerate(merges) if number not in left_out]


def _distances(vectors: Vectors) -> Vectors:
    distances: Vectors = vectors @ vectors.T
    np.subtract(1, distances, out=distances)  # in place: the matrix of a long recording has 67 MB
    return distances


def normalized(vectors: Vectors) -> Vectors:
    """Return the vectors (n, values) scaled to the length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = np.divide(vectors, np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
    return found
