"""Make one embedding of each speaker, of what the speaker says alone."""

from base64 import b64encode
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from natscribe.schemas.diarization import Turn

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization.chunk import stored
from app.engines.diarization.regions import EMBEDDINGS_APART
from app.engines.diarization.speakers import Embeddings, unit
from app.engines.diarization.windows import FIRST_EDGE, FRAME
from app.engines.messages import SpeakerEmbedding

_SHORTEST_FRAMES = 45  # 0.75 s: shorter speech says little of a voice
_OWN = 0.9  # least share of an embedding's speech in which its speaker, and nobody else, has a turn

Frames = npt.NDArray[np.intp]


def speaker_embeddings(embeddings: Embeddings, turns: Sequence[Turn]) -> Iterator[SpeakerEmbedding]:
    """Yield the embedding of each speaker: the mean of those of 1.5 s, by their lengths.

    A speaker who says nothing alone has 0 seconds, and no values.
    """
    labels = sorted({turn.speaker for turn in turns})
    alone = _alone(turns, labels, int(embeddings.ends.max(initial=0)))
    for label, speaks in zip(labels, alone, strict=True):
        sums = np.concatenate([[0], np.cumsum(speaks)])
        share = (sums[embeddings.ends] - sums[embeddings.starts]) / embeddings.lengths
        own = (share >= _OWN) & (embeddings.lengths >= _SHORTEST_FRAMES)
        if not own.any():
            yield SpeakerEmbedding(speaker=label, seconds=0.0, values="")
            continue
        weights = np.minimum(embeddings.lengths[own], EMBEDDINGS_APART).astype(np.float32)
        mean = unit((weights @ embeddings.vectors[own])[np.newaxis])[0]
        seconds = _covered(embeddings.starts[own], embeddings.ends[own]) * FRAME / SAMPLE_RATE
        yield SpeakerEmbedding(
            speaker=label, seconds=round(seconds, 3), values=b64encode(stored(mean).tobytes()).decode()
        )


def _alone(turns: Sequence[Turn], labels: Sequence[str], frames: int) -> npt.NDArray[np.bool_]:
    """Return who speaks alone in which frame (speakers, frames)."""
    speaking = np.zeros((len(labels), frames), np.bool_)
    for turn in turns:
        start, end = (max(round((each * SAMPLE_RATE - FIRST_EDGE) / FRAME), 0) for each in (turn.start, turn.end))
        speaking[labels.index(turn.speaker), start:end] = True
    found: npt.NDArray[np.bool_] = speaking & (speaking.sum(axis=0) == 1)
    return found


def _covered(starts: Frames, ends: Frames) -> int:
    """Count the frames that the embeddings cover together; they are in the order of their starts."""
    reached = np.maximum.accumulate(np.concatenate([[0], ends[:-1]]))
    return int(np.maximum(ends - np.maximum(starts, reached), 0).sum())
