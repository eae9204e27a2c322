"""Make two embeddings of each speaker, from what the speaker says alone: as it sounds, and as a telephone transmits it.

A telephone changes an embedding more than embeddings of different people differ. An embedding of speech as a telephone
transmits it changes little on a telephone, so it shows who speaks where the other embedding does not.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from natscribe.schemas.diarization import Turn

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.samples import Samples
from app.engines.diarization.chunk_analysis import quantized
from app.engines.diarization.features import features
from app.engines.diarization.networks import Networks
from app.engines.diarization.regions import EMBEDDING_STEP_FRAMES
from app.engines.diarization.speakers import Embeddings, Vectors, normalized
from app.engines.diarization.telephone import simulate_telephone
from app.engines.diarization.windows import FIRST_FRAME_AT, FRAME_SAMPLES
from app.engines.messages import SpeakerEmbedding

_SHORTEST_FRAMES: Final = 45  # 0.75 s: shorter speech says little of a voice
_OWN: Final = 0.9  # least share of an embedding's speech in which its speaker, and nobody else, has a turn
_MOST_TELEPHONED: Final = 12  # embeddings of a speaker that are made again: 18 s of speech, the first ones

Frames = npt.NDArray[np.intp]


def speaker_embeddings(
    networks: Networks, embeddings: Embeddings, turns: Sequence[Turn], sound: Iterator[Samples]
) -> list[SpeakerEmbedding]:
    """Return the two embeddings of each speaker; for a speaker who says nothing alone they are empty.

    The embedding of the speech as it sounds is the mean of the speaker's `embeddings`. The embedding as a telephone
    transmits it is made of the first 18 s of the speaker, so `sound`, the recording from its start, is read until all
    speakers have so much.
    """
    labels = sorted({turn.speaker for turn in turns})
    alone = _alone(turns, labels, int(embeddings.ends.max(initial=0)))
    own = {label: _own(embeddings, speaks) for label, speaks in zip(labels, alone, strict=True)}
    heard = _on_telephones(networks, embeddings, own, sound)
    return [_embedding(embeddings, label, chosen, heard[label]) for label, chosen in own.items()]


def _alone(turns: Sequence[Turn], labels: Sequence[str], frames: int) -> npt.NDArray[np.bool_]:
    """Return whether each speaker speaks alone in each frame (speakers, frames)."""
    speaking = np.zeros((len(labels), frames), np.bool_)
    for turn in turns:
        start, end = (
            max(round((each * SAMPLE_RATE - FIRST_FRAME_AT) / FRAME_SAMPLES), 0) for each in (turn.start, turn.end)
        )
        speaking[labels.index(turn.speaker), start:end] = True
    found: npt.NDArray[np.bool_] = speaking & (speaking.sum(axis=0) == 1)
    return found


def _own(embeddings: Embeddings, speaks: npt.NDArray[np.bool_]) -> Frames:
    """Return the numbers of the embeddings of 0.75 s or more in which hardly anybody but one speaker speaks.

    `speaks`: whether this speaker speaks alone in each frame.
    """
    sums = np.concatenate([[0], np.cumsum(speaks)])
    share = (sums[embeddings.ends] - sums[embeddings.starts]) / embeddings.lengths
    return np.flatnonzero((share >= _OWN) & (embeddings.lengths >= _SHORTEST_FRAMES))


def _embedding(embeddings: Embeddings, label: str, own: Frames, heard: Sequence[Vectors]) -> SpeakerEmbedding:
    if not len(own) or not heard:
        return SpeakerEmbedding(speaker=label, seconds=0.0, agreement=0.0, values="", telephone="")
    weights = np.minimum(embeddings.lengths[own], EMBEDDING_STEP_FRAMES).astype(np.float32)
    mean = (weights @ embeddings.vectors[own]) / weights.sum()
    seconds = _covered(embeddings.starts[own], embeddings.ends[own]) * FRAME_SAMPLES / SAMPLE_RATE
    return SpeakerEmbedding(
        speaker=label,
        seconds=round(seconds, 3),
        agreement=round(float(np.linalg.norm(mean)), 3),
        values=_written(mean),
        telephone=_written(np.sum(heard, axis=0)),
    )


def _covered(starts: Frames, ends: Frames) -> int:
    """Count the frames that are in any embedding; `starts` and `ends` are in the order of the starts."""
    reached = np.maximum.accumulate(np.concatenate([[0], ends[:-1]]))
    return int(np.maximum(ends - np.maximum(starts, reached), 0).sum())


def _written(vector: Vectors) -> str:
    return b64encode(quantized(normalized(vector[np.newaxis])[0]).tobytes()).decode()


def _on_telephones(
    networks: Networks, embeddings: Embeddings, own: dict[str, Frames], sound: Iterator[Samples]
) -> dict[str, list[Vectors]]:
    """Embed the first speech of each speaker as a telephone transmits it, in parts of up to 1.5 s.

    `own`: for each speaker, the numbers of the embeddings in which hardly anybody else speaks.
    """
    spans = sorted(
        (int(embeddings.starts[number]), int(embeddings.ends[number]), label)
        for label, chosen in own.items()
        for number in _apart(embeddings, chosen)
    )
    found: dict[str, list[Vectors]] = {label: [] for label in own}
    pieces = _cut(sound, [(start, end) for start, end, _ in spans])
    for (_, _, label), piece in zip(spans, pieces, strict=False):
        if len(piece) >= _SHORTEST_FRAMES * FRAME_SAMPLES // 2:  # the recording may end a little before the last turn
            found[label].append(networks.embed(features(simulate_telephone(piece))))
    return found


def _apart(embeddings: Embeddings, chosen: Frames) -> Iterator[int]:
    """Yield the numbers of up to 12 chosen embeddings, the first ones of which none overlaps another."""
    reached = count = 0
    for number in chosen:
        if embeddings.starts[number] >= reached and count < _MOST_TELEPHONED:
            reached, count = int(embeddings.ends[number]), count + 1
            yield int(number)


def _cut(sound: Iterator[Samples], spans: Sequence[tuple[int, int]]) -> Iterator[Samples]:
    """Yield the samples of each span; where the sound ends earlier, fewer samples or none.

    `spans`: the first frame of each, and the frame after its last; in the order of their first frames.
    """
    held, at = np.zeros(0, np.float32), 0
    for start, end in (
        (start * FRAME_SAMPLES + FIRST_FRAME_AT, end * FRAME_SAMPLES + FIRST_FRAME_AT) for start, end in spans
    ):
        while at + len(held) < end and (more := next(sound, None)) is not None:
            gone = min(max(start - at, 0), len(held))
            held, at = np.concatenate([held[gone:], more]), at + gone
        yield held[max(start - at, 0) : max(end - at, 0)]
