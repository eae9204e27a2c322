"""Compute two embeddings of each speaker from speech without overlap: from the original, and from telephone audio.

A telephone changes the embedding of a person more than the embeddings of two people differ. So the same speech is also
embedded as simulated telephone audio: this embedding can be compared with that of speech from a telephone.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from natscribe.schemas.diarization import Turn

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.diarization.chunk_analysis import quantized
from app.engines.diarization.clustering import Floats
from app.engines.diarization.features import features
from app.engines.diarization.networks import Networks
from app.engines.diarization.regions import EMBEDDING_STEP_FRAMES
from app.engines.diarization.speakers import Embeddings, normalized
from app.engines.diarization.telephone import simulate_telephone
from app.engines.diarization.windows import FIRST_FRAME_AT, FRAME_SAMPLES, Indices, Mask, sample_at
from app.engines.messages import SpeakerEmbedding

_MIN_FRAMES: Final = 45  # 0.75 s: shorter speech characterizes a speaker too little
_MIN_OWN_SHARE: Final = 0.9  # least share of an embedding's frames in which its speaker, and nobody else, has a turn
_MAX_TELEPHONE: Final = 12  # telephone embeddings per speaker: of the first 18 s of speech


def speaker_embeddings(
    networks: Networks, embeddings: Embeddings, turns: Sequence[Turn], audio: Iterator[Samples]
) -> list[SpeakerEmbedding]:
    """Return the two embeddings of each speaker, sorted by label; they are empty if the speaker never speaks alone.

    The original embedding is the mean of those in `embeddings` that belong to the speaker. The telephone embedding is
    computed from the first 18 s of the speaker's speech in `audio`, the samples of the recording from its start, which
    are read only as far as necessary.
    """
    labels = sorted({turn.speaker for turn in turns})
    alone = _alone(turns, labels, int(embeddings.ends.max(initial=0)))
    own = {label: _own_embeddings(embeddings, frames) for label, frames in zip(labels, alone, strict=True)}
    telephone = _telephone_embeddings(networks, embeddings, own, audio)
    return [_combined(embeddings, label, chosen, telephone[label]) for label, chosen in own.items()]


def _alone(turns: Sequence[Turn], labels: Sequence[str], frames: int) -> Mask:
    """Return whether each speaker speaks alone in each frame, shape (speakers, frames).

    `labels`: the labels of the speakers, in the order of the rows. `frames`: the number of columns.
    """
    speaking = np.zeros((len(labels), frames), np.bool_)
    for turn in turns:
        start, end = (max(round((t * SAMPLE_RATE - FIRST_FRAME_AT) / FRAME_SAMPLES), 0) for t in (turn.start, turn.end))
        speaking[labels.index(turn.speaker), max(start, 0) : max(end, 0)] = True
    alone: Mask = speaking & (speaking.sum(axis=0) == 1)
    return alone


def _own_embeddings(embeddings: Embeddings, alone: Mask) -> Indices:
    """Return the indices of the embeddings of one speaker that contain hardly any speech of others.

    Each of them is computed from an interval of at least 0.75 s in which almost only this speaker speaks. `alone`:
    whether only this speaker speaks in each frame of the recording, shape (frames,).
    """
    sums = np.concatenate([[0], np.cumsum(alone)])
    share = (sums[embeddings.ends] - sums[embeddings.starts]) / embeddings.lengths
    return np.flatnonzero((share >= _MIN_OWN_SHARE) & (embeddings.lengths >= _MIN_FRAMES))


def _combined(embeddings: Embeddings, label: str, own: Indices, telephone: Sequence[Floats]) -> SpeakerEmbedding:
    if not len(own) or not telephone:
        return SpeakerEmbedding(speaker=label, seconds=0.0, agreement=0.0, values="", telephone="")
    weights = np.minimum(embeddings.lengths[own], EMBEDDING_STEP_FRAMES).astype(np.float32)
    mean = (weights @ embeddings.vectors[own]) / weights.sum()
    seconds = _covered(embeddings.starts[own], embeddings.ends[own]) * FRAME_SAMPLES / SAMPLE_RATE
    return SpeakerEmbedding(
        speaker=label,
        seconds=round(seconds, 3),
        agreement=round(float(np.linalg.norm(mean)), 3),
        values=_encoded(mean),
        telephone=_encoded(np.sum(telephone, axis=0)),
    )


def _covered(starts: Indices, ends: Indices) -> int:
    """Count the frames that at least one embedding covers, given their start and end frames, sorted by start."""
    reached = np.maximum.accumulate(np.concatenate([[0], ends[:-1]]))
    return int(np.maximum(ends - np.maximum(starts, reached), 0).sum())


def _encoded(vector: Floats) -> str:
    return b64encode(quantized(normalized(vector[np.newaxis])[0]).tobytes()).decode()


def _telephone_embeddings(
    networks: Networks, embeddings: Embeddings, own: dict[str, Indices], audio: Iterator[Samples]
) -> dict[str, list[Floats]]:
    """Return up to 12 embeddings of each speaker's first speech as simulated telephone audio, by speaker label.

    `own`: by speaker label, the indices of those `embeddings` that represent the speaker. The first 12 of them whose
    intervals (up to 1.5 s each) do not overlap are chosen. The audio of these intervals is converted to telephone
    audio, from which the returned embeddings are computed.
    """
    spans = sorted(
        (int(embeddings.starts[number]), int(embeddings.ends[number]), label)
        for label, chosen in own.items()
        for number in _first_disjoint(embeddings, chosen)
    )
    vectors: dict[str, list[Floats]] = {label: [] for label in own}
    excerpts = _excerpts(audio, [(start, end) for start, end, _ in spans])
    for (_, _, label), samples in zip(spans, excerpts, strict=False):
        if len(samples) >= _MIN_FRAMES * FRAME_SAMPLES // 2:  # the recording may end a little before the last turn
            vectors[label].append(networks.embed(features(simulate_telephone(samples))))
    return vectors


def _first_disjoint(embeddings: Embeddings, chosen: Indices) -> Iterator[int]:
    """Yield up to 12 of the indices `chosen`, in order, so that the intervals of their embeddings do not overlap.

    An index is skipped if its embedding overlaps in time with the embedding whose index was yielded last. `chosen`:
    indices of embeddings, sorted by time.
    """
    reached = count = 0
    for number in chosen:
        if embeddings.starts[number] >= reached and count < _MAX_TELEPHONE:
            reached, count = int(embeddings.ends[number]), count + 1
            yield int(number)


def _excerpts(audio: Iterator[Samples], spans: Sequence[tuple[int, int]]) -> Iterator[Samples]:
    """Yield the samples of each span of `audio`; fewer samples, or none, if the audio ends before the span does.

    `spans`: the start and end frame of each span, sorted by start, so that `audio` is read only once.
    """
    buffered, offset = np.zeros(0, np.float32), 0
    for first, last in spans:
        start, end = sample_at(first), sample_at(last)
        while offset + len(buffered) < end and (more := next(audio, None)) is not None:
            passed = min(max(start - offset, 0), len(buffered))
            buffered, offset = np.concatenate([buffered[passed:], more]), offset + passed
        yield buffered[max(start - offset, 0) : max(end - offset, 0)]
