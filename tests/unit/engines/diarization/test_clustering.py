import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster
from scipy.cluster.hierarchy import linkage as scipy_linkage
from scipy.spatial.distance import squareform

from app.engines.diarization.clustering import counts, cut, linkage


def random_distances(size: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(size, 5)) + np.arange(size)[:, np.newaxis] % 4
    distances: np.ndarray = np.linalg.norm(points[:, np.newaxis] - points, axis=2).astype(np.float32)
    return distances


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@pytest.mark.parametrize("size", [2, 3, 10, 200])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_average_linkage_is_that_of_scipy(size: int, seed: int) -> None:
    # Given distances, and what scipy makes of them
    distances = random_distances(size, seed)
    expected = scipy_linkage(squareform(distances, checks=False), "average")

    # When we find the merges
    merges = linkage(distances.copy())

    # Then they happen at the same distances, and cut anywhere the clusters are the same
    assert [merge.distance for merge in merges] == pytest.approx(expected[:, 2], rel=1e-4)
    for wanted in {1, 2, size // 2, size}:
        labels = cut(np.ones(size, np.float32), merges[: size - wanted])
        assert partition(labels) == partition(fcluster(expected, wanted, "maxclust"))


@pytest.mark.parametrize("size", [0, 1])
def test_one_alone_merges_with_nobody(size: int) -> None:
    assert linkage(np.zeros((size, size), np.float32)) == []


def test_clusters_that_weigh_enough_are_counted() -> None:
    # Given two heavy things near each other and a light one between, and a light one far away
    distances = np.abs(np.subtract.outer(*[np.array([0, 1, 2.5, 9], np.float32)] * 2))
    weights = np.array([5, 1, 5, 1], np.float32)

    # When they merge step by step, then heavy clusters are counted before each step and after the last
    assert counts(weights, linkage(distances), 5) == [2, 2, 1, 1]
