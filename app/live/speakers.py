"""The speakers of a live task: attributes its text to those who are known when it is spoken."""

from collections.abc import Iterable, Sequence

from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Segment

from app.speech.attribution import attribute

_MIN_COVERED = 0.3  # least share of a segment that turns of its speaker cover


def attribute_known(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """Attribute the words of segments to the speakers of `turns`; the speaker is None where no turn covers them."""
    return [
        part if _covered(part, turns) >= _MIN_COVERED else part.model_copy(update={"speaker": None})
        for part in attribute(segments, turns)
    ]


def number_of_labels(segments: Iterable[Segment]) -> int:
    """Return how many labels are taken, from SPEAKER_00 to the highest one that a segment has."""
    return max((int(segment.speaker.rpartition("_")[2]) + 1 for segment in segments if segment.speaker), default=0)


def _covered(segment: Segment, turns: Sequence[Turn]) -> float:
    """Return which share of a segment the turns of its speaker cover."""
    own = (turn for turn in turns if turn.speaker == segment.speaker)
    seconds = sum(max(min(turn.end, segment.end) - max(turn.start, segment.start), 0.0) for turn in own)
    return seconds / max(segment.end - segment.start, 1e-3)
