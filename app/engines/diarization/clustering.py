"""Cluster embeddings: first by average linkage of their distances, then by the distances of the clusters' centres.

Average linkage in forty lines replaces scipy, a dependency of 35 MB, and needs half its memory: one matrix of 32-bit
floats.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Distances = npt.NDArray[np.float32]
Weights = npt.NDArray[np.float32]
Labels = npt.NDArray[np.intp]
Embeddings = npt.NDArray[np.float32]

_MOST_CENTRES = 256  # most clusters that are merged by their centres: the heaviest ones
_DOUBT_FRAMES = 15.0  # 0.25 s: a centre made of n frames is believed to be too far from others by this number / n
_SPLIT_DOUBT_FRAMES = 36.0  # 0.6 s: the same, of the shorter of two clusters, before they are taken apart


@dataclass(frozen=True)
class Merge:
    """A merge of two clusters; each cluster is given by the number of one of its members."""

    one: int
    other: int
    distance: float


def linkage(distances: Distances) -> list[Merge]:
    """Merge n members until one cluster is left, by average linkage; return all merges, nearest first.

    `distances`: the distance between each two members (n, n); the matrix is overwritten. The algorithm follows chains
    of nearest neighbours (Murtagh 1983), and takes n squared steps.
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


def _merge(distances: Distances, sizes: Weights, kept: int, gone: int) -> Merge:
    merge = Merge(kept, gone, float(distances[kept, gone]))
    size = sizes[kept] + sizes[gone]
    mean = (sizes[kept] * distances[kept] + sizes[gone] * distances[gone]) / size
    mean[[kept, gone]] = np.inf
    distances[kept], distances[:, kept] = mean, mean
    distances[gone], distances[:, gone] = np.inf, np.inf
    sizes[kept], sizes[gone] = size, 0
    return merge


def merge_by_centroids(embeddings: Embeddings, weights: Weights, labels: Labels) -> list[Merge]:
    """Merge clusters by the cosine distance of their centres until one is left; return the merges in this order.

    `labels`: the cluster of each embedding, as `cut` returns it. `weights`: the frames of each embedding. Only the 256
    heaviest clusters are merged. The distance of a merge is smaller than that of the centres, most for clusters of few
    frames, because their centres are inexact.
    """
    roots = np.unique(labels)
    frames = np.array([weights[labels == root].sum() for root in roots])
    heaviest = np.argsort(-frames, kind="stable")[:_MOST_CENTRES]
    roots, frames = roots[heaviest], frames[heaviest]
    sums = np.array([weights[labels == root] @ embeddings[labels == root] for root in roots])
    merges: list[Merge] = []
    while len(roots) > 1:
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        distances = 1 - centres @ centres.T - _DOUBT_FRAMES * (1 / frames[:, np.newaxis] + 1 / frames)
        np.fill_diagonal(distances, np.inf)
        kept, gone = sorted(divmod(int(distances.argmin()), len(roots)))
        merges.append(Merge(int(roots[kept]), int(roots[gone]), float(distances[kept, gone])))
        sums[kept] += sums[gone]
        frames[kept] += frames[gone]
        roots, frames, sums = (np.delete(each, gone, axis=0) for each in (roots, frames, sums))
    return merges


class Clusters:
    """Clusters that merge one step at a time; a cluster weighs as much as its members together."""

    def __init__(self, weights: Weights) -> None:
        self._parents = list(range(len(weights)))
        self.weights = weights.copy()  # at the root of a cluster: the weight of the whole cluster

    def apply(self, merge: Merge) -> tuple[float, float]:
        """Merge two clusters, and return their weights before the merge."""
        one, other = self.root(merge.one), self.root(merge.other)
        before = float(self.weights[one]), float(self.weights[other])
        self._parents[other] = one
        self.weights[one] += self.weights[other]
        return before

    def root(self, member: int) -> int:
        """Return the root of a member's cluster: the member whose number is the cluster's label."""
        while self._parents[member] != member:
            self._parents[member] = self._parents[self._parents[member]]
            member = self._parents[member]
        return member

    def labels(self) -> Labels:
        """Return the root of each member's cluster."""
        return np.array([self.root(member) for member in range(len(self._parents))])


def cluster_counts(weights: Weights, merges: Sequence[Merge], least: float) -> list[int]:
    """Count the clusters that weigh at least `least`, before the first merge and after each merge."""
    clusters = Clusters(weights)
    found = [int((weights >= least).sum())]
    for merge in merges:
        one, other = clusters.apply(merge)
        found.append(found[-1] + (one + other >= least) - (one >= least) - (other >= least))
    return found


def centroid_distances(embeddings: Embeddings, weights: Weights, merges: Sequence[Merge]) -> list[float]:
    """Return for each merge how far the centres of its two clusters are apart.

    The clusters are those that the earlier merges have made. `weights`: the frames of each embedding. The distance is
    reduced, most for clusters of few frames, because their centres are inexact.
    """
    clusters, sums = Clusters(weights), weights[:, np.newaxis] * embeddings
    found = []
    for merge in merges:
        one, other = clusters.root(merge.one), clusters.root(merge.other)
        lengths = max(float(np.linalg.norm(sums[one]) * np.linalg.norm(sums[other])), float(np.finfo(np.float32).tiny))
        distance = 1 - float(sums[one] @ sums[other]) / lengths
        found.append(distance - _SPLIT_DOUBT_FRAMES / min(clusters.apply(merge)))
        sums[one] += sums[other]
    return found


def cut(weights: Weights, merges: Sequence[Merge]) -> Labels:
    """Return the label of each member's cluster after all `merges`."""
    clusters = Clusters(weights)
    for merge in merges:
        clusters.apply(merge)
    return clusters.labels()
