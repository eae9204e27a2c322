"""Cluster embeddings: first by average linkage, i.e. by their pairwise distances, then by the clusters' centroids.

The average linkage here replaces scipy, a dependency of 35 MB, in forty lines, and needs half of its memory: one matrix
of 32-bit floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.windows import Indices

Floats = npt.NDArray[np.float32]

_MAX_CENTROIDS = 256  # how many clusters are merged by their centroids: the heaviest ones


@dataclass(frozen=True)
class Merge:
    """A merge of two clusters, each identified by the index of any one of its members.

    `distance`: the distance between the two clusters.
    """

    first: int
    second: int
    distance: float


def linkage(distances: Floats) -> list[Merge]:
    """Merge n members into one cluster by average linkage; return all n - 1 merges, sorted by ascending distance.

    `distances`: the pairwise distances, shape (n, n), which are overwritten. The nearest-neighbour chain algorithm
    (Murtagh 1983) takes O(n squared) time.
    """
    np.fill_diagonal(distances, np.inf)
    sizes = np.ones(len(distances), np.float32)
    merges: list[Merge] = []
    chain: list[int] = []
    while len(merges) < len(distances) - 1:
        last = chain[-1] if chain else int(sizes.argmax())
        chain = chain or [last]
        nearest = int(distances[last].argmin())
        if len(chain) > 1 and distances[last, chain[-2]] <= distances[last, nearest]:
            merges.append(_merge(distances, sizes, *chain[-2:]))
            del chain[-2:]
        else:
            chain.append(nearest)
    return sorted(merges, key=lambda merge: merge.distance)


def _merge(distances: Floats, sizes: Floats, target: int, absorbed: int) -> Merge:
    merge = Merge(target, absorbed, float(distances[target, absorbed]))
    size = sizes[target] + sizes[absorbed]
    mean = (sizes[target] * distances[target] + sizes[absorbed] * distances[absorbed]) / size
    mean[[target, absorbed]] = np.inf
    distances[target], distances[:, target] = mean, mean
    distances[absorbed], distances[:, absorbed] = np.inf, np.inf
    sizes[target], sizes[absorbed] = size, 0
    return merge


def merge_by_centroids(embeddings: Floats, weights: Floats, labels: Indices) -> list[Merge]:
    """Merge clusters into one, always the two with the nearest centroids; return the merges in this order.

    `embeddings`: shape (n, 192). `weights`: the number of frames of each embedding, shape (n,). `labels`: the cluster
    of each embedding, as `cluster_labels` returns it, shape (n,). Only the 256 heaviest clusters are merged. The
    distance of two centroids is the cosine distance, minus a correction for inexact centroids, which is largest for
    clusters of few frames.
    """
    roots = np.unique(labels)
    frames = np.array([weights[labels == root].sum() for root in roots])
    heaviest = np.argsort(-frames, kind="stable")[:_MAX_CENTROIDS]
    roots, frames = roots[heaviest], frames[heaviest]
    sums = np.array([weights[labels == root] @ embeddings[labels == root] for root in roots])
    merges: list[Merge] = []
    while len(roots) > 1:
        centroids = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        distances = (
            1 - centroids @ centroids.T - VOICE_NETWORK.uncertain_frames * (1 / frames[:, np.newaxis] + 1 / frames)
        )
        np.fill_diagonal(distances, np.inf)
        target, absorbed = sorted(divmod(int(distances.argmin()), len(roots)))
        merges.append(Merge(int(roots[target]), int(roots[absorbed]), float(distances[target, absorbed])))
        sums[target] += sums[absorbed]
        frames[target] += frames[absorbed]
        roots, frames, sums = (np.delete(array, absorbed, axis=0) for array in (roots, frames, sums))
    return merges


class Clusters:
    """A partition of members into clusters, which are merged step by step (a disjoint-set forest).

    At first each member is a cluster. `weights`: the weight of each member, shape (n,); a cluster has the sum of the
    weights of its members.
    """

    def __init__(self, weights: Floats) -> None:
        self._parents = list(range(len(weights)))
        self._weights = weights.copy()  # at the root of a cluster: the weight of the whole cluster

    def apply(self, merge: Merge) -> tuple[float, float]:
        """Merge the two clusters of `merge`, and return the weight that each had before."""
        first, second = self.root(merge.first), self.root(merge.second)
        before = float(self._weights[first]), float(self._weights[second])
        self._parents[second] = first
        self._weights[first] += self._weights[second]
        return before

    def root(self, member: int) -> int:
        """Return the root of the cluster of `member`, i.e. the one member whose index identifies the cluster."""
        while self._parents[member] != member:
            self._parents[member] = self._parents[self._parents[member]]
            member = self._parents[member]
        return member


def cluster_counts(weights: Floats, merges: Sequence[Merge], min_weight: float) -> list[int]:
    """Return how many clusters have at least the weight `min_weight`, before the first merge and after each merge.

    `weights`: the weight of each member. The returned list has one more element than `merges`.
    """
    clusters = Clusters(weights)
    counts = [int((weights >= min_weight).sum())]
    for merge in merges:
        first, second = clusters.apply(merge)
        counts.append(counts[-1] + (first + second >= min_weight) - (first >= min_weight) - (second >= min_weight))
    return counts


def centroid_distances(embeddings: Floats, weights: Floats, merges: Sequence[Merge]) -> list[float]:
    """Return, for each merge, the distance between the centroids of the two clusters that it merges.

    `embeddings`: shape (n, 192); at first each embedding is a cluster of its own. `weights`: the number of frames of
    each embedding, shape (n,). `merges`: up to n - 1 merges, which are applied in this order. A distance is the cosine
    distance, minus a correction for inexact centroids, which is largest for clusters of few frames.
    """
    clusters, sums = Clusters(weights), weights[:, np.newaxis] * embeddings
    distances = []
    for merge in merges:
        first, second = clusters.root(merge.first), clusters.root(merge.second)
        norms = max(float(np.linalg.norm(sums[first]) * np.linalg.norm(sums[second])), float(np.finfo(np.float32).tiny))
        distance = 1 - float(sums[first] @ sums[second]) / norms
        distances.append(distance - VOICE_NETWORK.split_uncertain_frames / min(clusters.apply(merge)))
        sums[first] += sums[second]
    return distances


def cluster_labels(weights: Floats, merges: Sequence[Merge]) -> Indices:
    """Return the label of each member's cluster after all `merges`, shape (n,).

    The label is the index of one member of the cluster. `weights`: the weight of each member, shape (n,).
    """
    clusters = Clusters(weights)
    for merge in merges:
        clusters.apply(merge)
    return np.array([clusters.root(member) for member in range(len(weights))])


def best_pairs(overlap: Floats) -> Indices:
    """Match clusters and labels, the pairs with the largest overlap first; return the label of each cluster.

    A cluster without a match gets -1. `overlap`: how much speech each cluster and each label have in common, shape
    (clusters, labels).
    """
    labels = np.full(len(overlap), -1, np.intp)
    left = overlap.copy()
    while left.size and left.max() > 0:
        cluster, label = divmod(int(left.argmax()), left.shape[1])
        labels[cluster] = label
        left[cluster], left[:, label] = 0, 0
    return labels
