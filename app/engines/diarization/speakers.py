"""Find the speakers of a recording: cluster the embeddings of its speech, so that each large cluster is a speaker."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE, LONG_OVERLAP_FRAMES, ChunkAnalysis, is_active
from app.engines.diarization.clustering import (
    Floats,
    Merge,
    centroid_distances,
    cluster_counts,
    cluster_labels,
    linkage,
    merge_by_centroids,
)
from app.engines.diarization.regions import EMBEDDING_STEP_FRAMES
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES, Indices, Mask, long_runs

_RELIABLE_FRAMES = 45  # 0.75 s: shorter embeddings are clustered only if there are too few of this length
_MAX_CLUSTERED = 4096  # most embeddings that are clustered, evenly spread over the recording
# A speaker has at least this share of the speech: at least _MIN_SPEAKER_FRAMES, and no more than _ENOUGH_FRAMES.
_MIN_SPEAKER_SHARE = 0.03
_MIN_SPEAKER_FRAMES, _ENOUGH_FRAMES = 41, 592  # 0.7 s, 10 s


@dataclass(frozen=True)
class SpeakerBounds:
    """The smallest and the largest number of speakers that a diarization job allows; None: no limit.

    `of_channel`: whether the job diarizes one of several channels on its own, where a single speaker is likely.
    """

    minimum: int | None
    maximum: int | None
    of_channel: bool = False

    def nearest(self, count: int) -> int:
        """Return `count` if it is within the bounds, else the nearest bound."""
        enough = max(count, self.minimum or 0)
        return min(enough, self.maximum or enough)


@dataclass(frozen=True)
class Embeddings:
    """All n embeddings of the regions of a recording, in the order of time, as parallel arrays.

    `starts`, `ends`: where the speech of each embedding starts and ends, in frames from the start of the recording,
    shape (n,). `vectors`: the embeddings, of norm 1, shape (n, 192). `from_telephone`: whether a telephone has
    transmitted the speech, shape (n,). `whitened`: whether the vectors are whitened, as embeddings from telephones are.
    """

    starts: Indices
    ends: Indices
    vectors: Floats
    from_telephone: Mask
    whitened: bool = False

    @property
    def lengths(self) -> Indices:
        """The number of frames of audio from which each embedding was computed, shape (n,)."""
        return self.ends - self.starts


def collect_embeddings(chunks: Sequence[ChunkAnalysis]) -> Embeddings:
    """Join the embeddings of all chunks of a recording, in order.

    The vectors are scaled to norm 1. The frame numbers, which each chunk counts from its own start, are converted to
    frames from the start of the recording.
    """
    placed = [(chunk.first_frame, item) for chunk in chunks for item in chunk.embeddings]
    return Embeddings(
        np.array([offset + item.start for offset, item in placed], np.intp),
        np.array([offset + item.end for offset, item in placed], np.intp),
        normalized(np.array([item.values for _, item in placed], np.float32).reshape(-1, EMBEDDING_SIZE)),
        np.array([item.from_telephone for _, item in placed], np.bool_),
    )


def smoothed(embeddings: Embeddings) -> Embeddings:
    """Add to each embedding from a telephone half of those before and after it whose speech overlaps its own.

    Embeddings vary so much on telephones that two or three of one person may resemble nobody; longer speech varies
    less.
    """
    is_joined = embeddings.starts[1:] < embeddings.ends[:-1]
    is_joined &= embeddings.from_telephone[1:] & embeddings.from_telephone[:-1]
    halves = np.float32(0.5) * is_joined[:, np.newaxis]
    vectors = embeddings.vectors.copy()
    vectors[:-1] += halves * embeddings.vectors[1:]
    vectors[1:] += halves * embeddings.vectors[:-1]
    return replace(embeddings, vectors=normalized(vectors))


def speaker_centroids(embeddings: Embeddings, chunks: Sequence[ChunkAnalysis], bounds: SpeakerBounds) -> Floats:
    """Cluster the embeddings into speakers; return the centroid of each speaker, of norm 1, shape (speakers, 192).

    Without speech, the shape is (0, 192). If there are no `embeddings`, because nobody ever speaks alone, the
    embeddings in `chunks` of people who speak at the same time as others are clustered.
    """
    chosen = _clustered_embeddings(embeddings.lengths, bounds.minimum or 0)
    vectors = embeddings.vectors[chosen]
    weights = np.minimum(embeddings.lengths[chosen], EMBEDDING_STEP_FRAMES).astype(np.float32)
    if not len(vectors):
        overlapped = [speaker.values for chunk in chunks for speaker in chunk.overlapped]
        vectors = normalized(np.array(overlapped, np.float32).reshape(-1, EMBEDDING_SIZE))
        vectors = vectors[_evenly_spread(len(vectors))]
        weights = np.full(len(vectors), EMBEDDING_STEP_FRAMES, np.float32)
    if not len(vectors):
        return vectors
    labels = _cluster(vectors, weights, bounds, VOICE_NETWORK.whitened_distance * embeddings.whitened)
    roots = np.unique(labels[labels >= 0])
    centroids = normalized(np.array([weights[labels == root] @ vectors[labels == root] for root in roots]))
    if len(roots) > 1 or bounds.nearest(2) == 1:
        return centroids
    return np.concatenate([centroids, _overlapping_speaker(chunks, _min_weight(weights))])


def _overlapping_speaker(chunks: Sequence[ChunkAnalysis], min_frames: float) -> Floats:
    """Return the centroid of a second speaker who speaks only while the first one does, shape (1, 192).

    There is one if two local speakers speak at the same time for long, in at least `min_frames` frames in all: they
    must be two people, even if the second one never speaks alone. Otherwise the shape is (0, 192).
    """
    frames, total = 0.0, np.zeros((1, EMBEDDING_SIZE), np.float32)
    for chunk in chunks:
        active = is_active(chunk.activity)
        overlap = np.array([long_runs(speaking.sum(axis=1) > 1, LONG_OVERLAP_FRAMES) for speaking in active])
        frames += float(overlap.sum()) * STEP_FRAMES / WINDOW_FRAMES  # windows overlap
        for speaker in chunk.overlapped:
            speaks = active[speaker.window, :, speaker.number] & overlap[speaker.window]
            total += speaks.sum() * normalized(speaker.values.astype(np.float32)[np.newaxis])
    return normalized(total[: int(frames >= min_frames and total.any())])


def _clustered_embeddings(lengths: Indices, minimum: int) -> Indices:
    """Choose which embeddings to cluster, and return their indices.

    If the embeddings of 0.75 s or more cover half of the speech, only these are chosen; if they are fewer than
    `minimum`, the longest of the shorter ones are added. Otherwise all embeddings are chosen. At most `_MAX_CLUSTERED`
    of them are returned, evenly spread over the recording. `lengths`: the number of frames of each embedding, shape
    (n,).
    """
    longest = np.argsort(-lengths, kind="stable")
    reliable = lengths >= _RELIABLE_FRAMES
    reliable_suffice = 2 * lengths[reliable].sum() >= lengths.sum()
    count = max(int(reliable.sum()), minimum) if reliable_suffice else len(lengths)
    chosen = np.sort(longest[:count])
    return chosen[_evenly_spread(len(chosen))]


def _evenly_spread(count: int) -> Indices:
    """Return up to `_MAX_CLUSTERED` indices that are evenly spread from 0 to `count` - 1."""
    return np.linspace(0, max(count - 1, 0), min(count, _MAX_CLUSTERED)).astype(np.intp)


def _cluster(vectors: Floats, weights: Floats, bounds: SpeakerBounds, farther: float) -> Indices:
    """Cluster n embeddings; return for each the label of its cluster, shape (n,).

    The label is -1 if the cluster is too small to be a speaker. First, embeddings are merged by average linkage, which
    tolerates variation among the embeddings of one person. Then clusters are merged by the distances of their
    centroids, which separate people who sound alike. Finally, merges are added or undone until the number of speakers
    is within `bounds`. `weights`: the weight of each embedding, in frames. `farther`: by how much larger than usual the
    distances may be.
    """
    distances = vectors @ vectors.T
    np.subtract(1, distances, out=distances)  # in place: the matrix of a long recording takes 67 MB
    by_linkage = [merge for merge in linkage(distances) if merge.distance <= VOICE_NETWORK.max_linkage + farther]
    by_centroids = merge_by_centroids(vectors, weights, cluster_labels(weights, by_linkage))
    network = VOICE_NETWORK
    max_distance = network.max_centroid_distance_in_channel if bounds.of_channel else network.max_centroid_distance
    too_far = (number for number, merge in enumerate(by_centroids) if merge.distance > max_distance + farther)
    merges = [*by_linkage, *by_centroids]
    done, speakers = _within(bounds, weights, merges, len(by_linkage) + next(too_far, len(by_centroids)))
    missing = max(speakers - (len(weights) - done), 0)  # first the clusters that are too small become speakers
    labels = cluster_labels(weights, _split(vectors, weights, merges[:done], missing))
    heaviest = np.argsort(-np.bincount(labels, weights), kind="stable")[:speakers]
    return np.where(np.isin(labels, heaviest), labels, -1)


def _within(bounds: SpeakerBounds, weights: Floats, merges: Sequence[Merge], done: int) -> tuple[int, int]:
    """Choose how many of the `merges` to apply, and how many speakers to return.

    The first `done` merges join clusters that are near each other, and are always applied. A cluster with enough frames
    of speech is a speaker. If there are then more speakers than `bounds` allow, later merges are applied, too. If there
    are fewer, the least number that `bounds` allow is returned, even if fewer clusters remain: the caller then undoes
    merges. `weights`: the frames of speech of each embedding.
    """
    heaviest = float(np.bincount(cluster_labels(weights, merges[:done]), weights).max())
    counts = cluster_counts(weights, merges, min(_min_weight(weights), heaviest))
    speakers = bounds.nearest(counts[done])
    enough = next((number for number in range(done, len(counts)) if counts[number] <= speakers), len(merges))
    return enough, speakers


def _min_weight(weights: Floats) -> float:
    """Return how many frames of speech make a cluster a speaker; `weights`: the frames of each embedding."""
    return min(max(_MIN_SPEAKER_SHARE * float(weights.sum()), _MIN_SPEAKER_FRAMES), _ENOUGH_FRAMES)


def _split(vectors: Floats, weights: Floats, merges: Sequence[Merge], missing: int) -> list[Merge]:
    """Undo up to `missing` merges, each of which gives one more speaker; return the merges that remain.

    The merges of the most distant centroids are undone, because these may have joined two people. A merge of near
    centroids always remains, because without it one person would become two speakers.
    """
    distances = centroid_distances(vectors, weights, merges) if missing else []
    farthest = sorted(range(len(distances)), key=lambda number: -distances[number])[:missing]
    undone = {number for number in farthest if distances[number] > VOICE_NETWORK.min_split_distance}
    return [merge for number, merge in enumerate(merges) if number not in undone]


def normalized(vectors: Floats) -> Floats:
    """Return the vectors, shape (n, values), scaled to norm 1."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Floats = np.divide(vectors, np.maximum(norms, np.finfo(np.float32).tiny), dtype=np.float32)
    return result
