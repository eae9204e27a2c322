import numpy as np
import pytest

from app.engines.diarization.clustering import (
    Merge,
    centroid_distances,
    cluster_counts,
    cluster_labels,
    linkage,
    merge_by_centroids,
)


def random_distances(size: int, seed: int) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(size, 5)) + np.arange(size)[:, np.newaxis] % 4
    distances: np.ndarray = np.linalg.norm(points[:, np.newaxis] - points, axis=2).astype(np.float32)
    return distances


def partition(labels: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


@pytest.mark.parametrize("size", [2, 3, 10, 200])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_average_linkage_is_that_of_scipy(size: int, seed: int) -> None:
    # Given distances, and what scipy makes of them, whose import takes half a second
    from scipy.cluster.hierarchy import fcluster  # noqa: PLC0415
    from scipy.cluster.hierarchy import linkage as scipy_linkage  # noqa: PLC0415
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    distances = random_distances(size, seed)
    expected = scipy_linkage(squareform(distances, checks=False), "average")

    # When we find the merges
    merges = linkage(distances.copy())

    # Then they happen at the same distances, and cluster_labels anywhere the clusters are the same
    assert [merge.distance for merge in merges] == pytest.approx(expected[:, 2], rel=1e-4)
    for count in {1, 2, size // 2, size}:
        labels = cluster_labels(np.ones(size, np.float32), merges[: size - count])
        assert partition(labels) == partition(fcluster(expected, count, "maxclust"))


@pytest.mark.parametrize("size", [0, 1])
def test_one_alone_merges_with_nobody(size: int) -> None:
    assert linkage(np.zeros((size, size), np.float32)) == []


def test_clusters_that_weigh_enough_are_counted() -> None:
    # Given two heavy things near each other and a light one between, which makes one heavy enough, and a light one
    distances = np.abs(np.subtract.outer(*[np.array([0, 1, 2.5, 9], np.float32)] * 2))
    weights = np.array([4, 1, 5, 1], np.float32)

    # When they merge step by step, then heavy clusters are counted before each step and after the last
    assert cluster_counts(weights, linkage(distances), 5) == [1, 2, 1, 1]


def test_clusters_of_one_person_are_joined_by_their_centroids_however_much_their_members_differ() -> None:
    # Given two clusters whose members differ much, each in a way of its own, around one and the same centroid
    random = np.random.default_rng(5)
    person, other = np.eye(64, dtype=np.float32)[:2]
    noise = random.normal(size=(60, 64)).astype(np.float32)
    members = person + noise / np.linalg.norm(noise, axis=1, keepdims=True)
    strangers = members - 0.4 * person + 0.8 * other
    labels = np.array([0] * 30 + [30] * 30 + [60] * 60)

    # When all clusters are joined by their centroids
    embeddings = np.concatenate([members, strangers])
    merges = merge_by_centroids(embeddings, np.full(120, 44, np.float32), labels)

    # Then those of the one person are near each other, though their members are not, and the stranger is as
    # far from that person as the centroids of both are
    assert [{merge.first, merge.second} for merge in merges] == [{0, 30}, {0, 60}]
    assert merges[0].distance < 0.2
    one, two = members.mean(axis=0), strangers.mean(axis=0)
    assert merges[1].distance == pytest.approx(1 - one @ two / np.linalg.norm(one) / np.linalg.norm(two), abs=0.02)


def test_the_centroid_of_a_short_piece_of_speech_is_believed_to_be_inexact() -> None:
    # Given three clusters as far from each other, one of them short
    embeddings = np.eye(3, dtype=np.float32)

    # When they are joined, then the short one is joined first
    merges = merge_by_centroids(embeddings, np.array([500, 500, 30], np.float32), np.array([0, 1, 2]))
    assert 2 in {merges[0].first, merges[0].second}
    assert merges[0].distance < 0.5
    assert merges[1].distance > 0.8


def test_clusters_are_as_far_apart_as_at_their_merge_and_nearer_if_one_is_short() -> None:
    # Given two slices of one person, two of another, and a short one of a third
    embeddings = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
    weights = np.array([720, 720, 720, 720, 72], np.float32)

    # When the slices of each person are merged, then the people, then the short one
    distances = centroid_distances(
        embeddings, weights, [Merge(0, 1, 0), Merge(2, 3, 0), Merge(1, 3, 0), Merge(0, 4, 0)]
    )

    # Then people are far apart, and half of that may be chance where one has spoken for a moment
    assert distances == pytest.approx([-0.05, -0.05, 0.975, 0.5], abs=1e-6)


def test_of_very_many_clusters_only_the_heaviest_are_joined() -> None:
    # Given more clusters than are compared, when they are joined, then some are left alone
    count = 300
    weights = np.arange(1, count + 1, dtype=np.float32)
    merges = merge_by_centroids(np.ones((count, 1), np.float32), weights, np.arange(count))
    assert 0 < len(merges) < count - 1
    assert min(min(merge.first, merge.second) for merge in merges) > 0
