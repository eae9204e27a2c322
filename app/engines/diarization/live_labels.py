"""Label the speakers of a live stream: cluster the embeddings of its speech again after each utterance.

An embedding is computed from a window of up to 1.5 s of speech. A label means the same person for ever, so each cluster
retains the label of most of its windows. If all windows with a label move to a cluster with another label, because one
person had two labels, the first label is merged into the second.

The windows of the last two minutes are clustered; of what was spoken before, each speaker has only a mean embedding and
a count. So an hour costs no more per minute than a minute does, and a person who returns after an hour gets the same
label. Average linkage depends only on the mean of the embeddings in a cluster: with several copies of the mean of its
earlier embeddings, a speaker is clustered as with these embeddings themselves.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE
from app.engines.diarization.clustering import Floats, best_pairs
from app.engines.diarization.live_windows import SpeechWindow
from app.engines.diarization.regions import MAX_EMBEDDING_FRAMES
from app.engines.diarization.speakers import Embeddings, SpeakerBounds, normalized, smoothed, speaker_centroids
from app.engines.diarization.windows import FRAME_SAMPLES, Indices

_RECENT = 120 * SAMPLE_RATE  # samples: earlier windows are settled, i.e. their labels no longer change
_MAX_COPIES = 16  # of the mean of a speaker's settled embeddings
_WINDOW_STEP_S = 0.75  # seconds between the starts of two windows
_STEP = SAMPLE_RATE // 100  # samples for which one decision is made who speaks
_NONE = -1  # no label
_INTEGERS, _FLOATS = ("i1", EMBEDDING_SIZE), ("<f4", EMBEDDING_SIZE)
_WINDOW = np.dtype(
    [
        ("start", "<i8"),
        ("end", "<i8"),
        ("label", "<i2"),
        ("values", *_INTEGERS),
        ("telephone", *_INTEGERS),
        ("from_telephone", "?"),
    ]
)
_SPEAKER = np.dtype([("sum", *_FLOATS), ("telephone", *_FLOATS), ("count", "<i4"), ("merged", "<i2")])
_SUMS = (("sum", "values"), ("telephone", "telephone"))  # of a speaker, and what of the windows they sum


class LabelEmbeddings(NamedTuple):
    """The mean embeddings of the speech with one label: as recorded, and as simulated telephone audio (`telephone`).

    `seconds`: about how much speech has the label. Only the direction of `telephone` has a meaning, not its norm.
    """

    label: int
    seconds: float
    mean: Floats
    telephone: Floats


class LiveLabels:
    """Gives the speakers of a live stream labels, numbered from 0, by clustering the embeddings of their speech."""

    def __init__(self, maximum: int | None = None, labels: int = 0, *, of_channel: bool = False) -> None:
        """`maximum`: the largest number of speakers; None: no limit.

        `labels`: how many labels earlier processes have given to speakers, whose embeddings may be unknown here; new
        speakers get higher labels. `of_channel`: whether the stream has several channels, of which this is one.
        """
        self._bounds = SpeakerBounds(None, maximum, of_channel)
        self._windows = np.zeros(0, _WINDOW)  # those that are not settled
        self._speakers = np.zeros(0, _SPEAKER)  # by label: the settled windows, and the label it is merged into
        self._reserve(labels)
        self._centroids: Floats = np.zeros((0, EMBEDDING_SIZE), np.float32)  # to which windows are compared
        self._labels: Indices = np.zeros(0, np.intp)  # of the centroids
        self._on_telephone = False  # most of the recent speech is from a telephone, so embeddings are whitened
        self.settled_until = 0  # samples: no label of earlier speech changes any more

    def limit(self, maximum: int) -> None:
        """Change how many speakers there may be."""
        self._bounds = replace(self._bounds, maximum=maximum)

    @property
    def labels(self) -> list[int]:
        """The labels of all speakers, without the labels that were merged into another one."""
        is_settled = self._speakers["count"] > 0
        is_recent = np.isin(np.arange(len(self._speakers)), self._windows["label"])
        return np.flatnonzero(is_settled | is_recent).tolist()

    @property
    def merged(self) -> dict[int, int]:
        """For each label that was merged into another one, the label that its speaker has now."""
        return {label: self._current(label) for label in np.flatnonzero(self._speakers["merged"] != _NONE).tolist()}

    def add(self, windows: Sequence[SpeechWindow]) -> None:
        """Add the windows of the next utterance, each with its embedding, and label all recent windows again.

        A window is up to 1.5 s of speech; recent windows are those of the last two minutes. Windows that start no later
        than the last window added so far are skipped, because they were added before.
        """
        last = int(self._windows["start"][-1]) if len(self._windows) else self.settled_until - 1
        added = [(start, end, _NONE, *values) for start, end, *values in windows if start > last]
        self._windows = np.concatenate([self._windows, np.array(added, _WINDOW)])
        if len(self._windows) and len(clusters := self._clusters()):
            self._assign(clusters)
            self.settle(int(self._windows["end"][-1]))

    def nearest(self, window: SpeechWindow) -> int | None:
        """Return the label of the speaker to whom the embedding of a window is most similar.

        None: it is similar to no speaker with a label.
        """
        if not len(self._centroids):
            return None
        similarity = self._centroids @ self._compared(window.values[np.newaxis])[0]
        best = int(similarity.argmax())
        label = int(self._labels[best])
        return label if similarity[best] >= self._least(VOICE_NETWORK.unknown_similarity) and label != _NONE else None

    def turns(self) -> list[tuple[int, int, int]]:
        """Return the turns since `settled_until`, each as its start and end in samples, and its label.

        Speech of unknown speakers is in no turn. The speaker is chosen for each 10 ms: the windows that cover this time
        vote by the similarity of their embeddings to each speaker. The vote of a window counts most in its middle.
        """
        if not len(self._windows) or not len(self._centroids):
            return []
        starts, ends = self._windows["start"] // _STEP, self._windows["end"] // _STEP
        first = int(starts[0])
        votes = np.zeros((len(self._centroids), int(ends.max()) - first), np.float32)
        total = np.full(votes.shape[1], np.finfo(np.float32).tiny, np.float32)
        similarity = self._centroids @ self._compared(self._windows["values"]).T
        for number, (start, end) in enumerate(zip(starts - first, ends - first, strict=True)):
            middle, length = (start + end) / 2, end - start
            weights = 1 - np.abs(np.arange(start, end) + 0.5 - middle) / (length / 2 + 1)
            votes[:, start:end] += np.outer(similarity[:, number], weights)
            total[start:end] += weights
        is_known = votes.max(axis=0) / total >= self._least(VOICE_NETWORK.unknown_similarity)
        labels = np.where(is_known, self._labels[votes.argmax(axis=0)], _NONE)
        edges = np.flatnonzero(np.diff(labels, prepend=_NONE - 1, append=_NONE - 1))
        runs = zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        return [
            ((first + start) * _STEP, (first + end) * _STEP, int(labels[start]))
            for start, end in runs
            if labels[start] != _NONE
        ]

    def settle(self, now: int) -> None:
        """Settle the windows that ended more than two minutes before `now`: their labels no longer change.

        They are added to the mean embeddings of their speakers, and removed. `now`: in samples from the start of the
        stream.
        """
        is_old = self._windows["end"] < now - _RECENT
        old = self._windows[is_old & (self._windows["label"] != _NONE)]
        for speakers, windows in _SUMS:
            np.add.at(self._speakers[speakers], old["label"], _vectors(old[windows]))
        np.add.at(self._speakers["count"], old["label"], 1)
        self._windows = self._windows[~is_old]
        first = int(self._windows["start"][0]) if len(self._windows) else now
        self.settled_until = max(self.settled_until, min(first, now - _RECENT))

    def embeddings(self) -> Iterator[LabelEmbeddings]:
        """Yield the two mean embeddings of each label, in the order of the labels.

        Labels without speech are skipped, and so are labels that were merged into another one, which has their speech.
        """
        sums, telephones = (self._sums(speakers, windows) for speakers, windows in _SUMS)
        labelled = self._windows["label"][self._windows["label"] != _NONE]
        counts = self._speakers["count"] + np.bincount(labelled, minlength=len(self._speakers))
        for label in np.flatnonzero((self._speakers["merged"] == _NONE) & (counts > 0)).tolist():
            seconds = float(counts[label]) * _WINDOW_STEP_S
            yield LabelEmbeddings(label, seconds, sums[label] / counts[label], telephones[label])

    def pack(self) -> bytes:
        """Serialize the state, with which `restore` continues in another process."""
        file = io.BytesIO()
        np.savez_compressed(file, windows=self._windows, speakers=self._speakers, settled=self.settled_until)
        return file.getvalue()

    def restore(self, packed: bytes) -> None:
        """Continue with the state that `pack` has returned, usually in another process.

        New speakers get higher labels than those in the state and those taken before this call.

        Raises:
            ValueError, LookupError: `packed` was written by another version.
        """
        taken = len(self._speakers)
        with np.load(io.BytesIO(packed), allow_pickle=False) as content:
            windows, speakers = content["windows"], content["speakers"]
            if (windows.dtype, speakers.dtype) != (_WINDOW, _SPEAKER):
                message = "the speakers of a live stream were stored by another version"
                raise ValueError(message)
            self._windows, self._speakers = windows, speakers
            self.settled_until = int(content["settled"])
        self._reserve(taken - len(self._speakers))
        if len(clusters := self._clusters()):
            self._assign(clusters)

    def _reserve(self, count: int) -> None:
        added = np.zeros(max(count, 0), _SPEAKER)
        added["merged"] = _NONE
        self._speakers = np.concatenate([self._speakers, added])

    def _current(self, label: int) -> int:
        while (into := int(self._speakers["merged"][label])) != _NONE:
            label = into
        return label

    @property
    def _lengths(self) -> Indices:
        lengths: Indices = self._windows["end"] - self._windows["start"]
        return lengths

    def _clusters(self) -> Floats:
        """Cluster the embeddings of recent windows and of older speech; return the centroids, shape (clusters, 192).

        Older speech, of more than two minutes ago, is represented by the mean embedding of each speaker.
        """
        self._on_telephone = bool(2 * self._windows["from_telephone"].sum() > len(self._windows))
        counts = self._speakers["count"]
        means = self._whitened(self._speakers["sum"] / np.maximum(counts, 1)[:, np.newaxis])
        settled = np.repeat(means, np.minimum(counts, _MAX_COPIES), axis=0)
        before = np.zeros(len(settled), np.intp)
        starts, ends = (self._windows[name] // FRAME_SAMPLES for name in ("start", "end"))
        embeddings = Embeddings(
            np.concatenate([before, starts]),
            np.concatenate([before + MAX_EMBEDDING_FRAMES, ends]),
            np.concatenate([settled, self._compared(self._windows["values"])]),
            np.concatenate([before.astype(np.bool_), self._windows["from_telephone"]]),
            self._on_telephone,
        )
        return speaker_centroids(smoothed(embeddings), [], self._bounds)

    def _assign(self, clusters: Floats) -> None:
        """Give each cluster a label, then give each recent window the label of the centroid most similar to it.

        `clusters`: the centroids of the clusters, shape (clusters, 192). If no cluster gets a label that was in use,
        the label is merged into the label of a similar cluster. If no cluster is similar, the mean embedding of the
        label is one more centroid. A new cluster with too little speech gets no label.
        """
        vectors = self._compared(self._windows["values"])
        overlap = self._overlap(clusters, vectors)
        labels = best_pairs(overlap)
        means = normalized(self._whitened(self._sums(*_SUMS[0])))
        lost = [label for label, seconds in enumerate(overlap.sum(axis=0)) if seconds and label not in labels]
        unmerged = [label for label in lost if not self._merge(means[label], label, clusters, labels)]
        self._centroids = np.concatenate([clusters, means[unmerged]])
        self._labels = np.concatenate([labels, np.array(unmerged, np.intp)])
        nearest = (vectors @ clusters.T).argmax(axis=1)
        spoken, on_telephone = (
            np.bincount(nearest, lengths, minlength=len(clusters)) / SAMPLE_RATE
            for lengths in (self._lengths, self._lengths * self._windows["from_telephone"])
        )
        min_new, enough = (
            np.where(2 * on_telephone > spoken, *limits[::-1])
            for limits in (VOICE_NETWORK.min_new_s, VOICE_NETWORK.enough_s)
        )
        for number in np.flatnonzero((labels == _NONE) & (spoken >= min_new)).tolist():
            is_short = bool(spoken[number] < enough[number])
            self._labels[number] = self._new_label(self._centroids @ clusters[number], is_short=is_short)
        if len(vectors):
            self._windows["label"] = self._labels[(vectors @ self._centroids.T).argmax(axis=1)]

    def _whitened(self, vectors: Floats) -> Floats:
        return vectors @ VOICE_NETWORK.whitening if self._on_telephone else vectors

    def _compared(self, values: np.ndarray) -> Floats:
        """Return embeddings as they are compared with each other: of norm 1, and whitened on telephones."""
        return normalized(self._whitened(_vectors(values)))

    def _least(self, similarity: float) -> float:
        """Return the limit of similarity for embeddings as `_compared` returns them, from that for full bandwidth."""
        return similarity - VOICE_NETWORK.whitened_distance * self._on_telephone

    def _overlap(self, clusters: Floats, vectors: Floats) -> Floats:
        """Return how much speech of each label belongs to each cluster now, in samples, shape (clusters, labels).

        `clusters`: the centroids. `vectors`: the embeddings of the recent windows, each of which belongs to the cluster
        with the nearest centroid. All older speech of a label belongs to the cluster nearest to the label's mean
        embedding. Of this speech, only the number of windows is known, so each window counts as 1 s.
        """
        overlap = np.zeros((len(clusters), len(self._speakers)), np.float32)
        labelled = np.flatnonzero(self._windows["label"] != _NONE)
        nearest = (vectors[labelled] @ clusters.T).argmax(axis=1)
        np.add.at(overlap, (nearest, self._windows["label"][labelled]), self._lengths[labelled])
        for label in np.flatnonzero(self._speakers["count"]):
            nearest_to_mean = int((clusters @ self._whitened(self._speakers["sum"][label])).argmax())
            overlap[nearest_to_mean, label] += self._speakers["count"][label] * float(SAMPLE_RATE)
        return overlap

    def _sums(self, speakers: str, windows: str) -> Floats:
        """Return, for each label, the sum of the embeddings of all speech with this label, shape (labels, 192).

        `speakers` names the field of `_speakers` that has the sums of older speech, and `windows` the field of
        `_windows` that has the embeddings of recent speech. `_SUMS` lists the valid pairs: for speech as recorded, and
        as telephone audio.
        """
        sums: Floats = self._speakers[speakers].copy()
        labelled = self._windows["label"] != _NONE
        np.add.at(sums, self._windows["label"][labelled], _vectors(self._windows[windows][labelled]))
        return sums

    def _merge(self, mean: Floats, label: int, clusters: Floats, labels: Indices) -> bool:
        """Merge a label that no cluster has any longer into the label of the most similar cluster.

        Return whether the label was merged. It stays if no cluster is similar enough, because its speaker may only have
        said too little to form a cluster. `mean`: the mean embedding of the label. `clusters`: the centroids. `labels`:
        the label of each cluster.
        """
        similarity = clusters @ mean
        nearest = int(similarity.argmax())
        into = int(labels[nearest])
        in_channel, network = self._bounds.of_channel, VOICE_NETWORK
        least = network.merge_similarity_in_channel if in_channel else network.merge_similarity
        if similarity[nearest] < self._least(least) or into == _NONE:
            return False
        self._speakers["merged"][label] = into
        for name in ("sum", "telephone", "count"):
            self._speakers[name][into] += self._speakers[name][label]
            self._speakers[name][label] = 0
        return True

    def _new_label(self, similarity: Floats, *, is_short: bool) -> int:
        """Choose the label of a cluster without one: a new label, or the label of the most similar labelled centroid.

        The label of a centroid is reused if there are as many speakers as allowed. It is also reused if the cluster has
        little speech and a similarity of at least `similar` to the centroid, because one person's speech may form two
        clusters. `similarity`: the similarity of the cluster to each centroid. `is_short`: whether the cluster has
        little speech.
        """
        nearest = int(np.where(self._labels == _NONE, -np.inf, similarity).argmax())
        is_similar = is_short and similarity[nearest] >= self._least(VOICE_NETWORK.similar)
        is_full = (self._speakers["merged"] == _NONE).sum() >= (self._bounds.maximum or np.inf)
        if self._labels[nearest] != _NONE and (is_similar or is_full):
            return int(self._labels[nearest])
        self._reserve(1)
        return len(self._speakers) - 1


def _vectors(values: np.ndarray) -> Floats:
    return normalized(values.astype(np.float32))
