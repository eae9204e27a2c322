"""The speakers of a live task: attributes text to them, and corrects the speakers of segments already published."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from natscribe.client.live_speakers import corrected
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.transcription import Segment

from app.engines.messages import LiveDiarization
from app.speech.attribution import Unit, attribute, attributed_units, split
from app.updates import Checkpoint, SpeakerChanges

_MIN_COVERED = 0.3  # least share of a segment that turns of its speaker cover
_SETTLED_EVERY_S = 10.0  # how often an event reports only that more speakers are settled


@dataclass(eq=False, slots=True)
class SpeakerHistory:
    """The speakers of a live task as published: in its segments, and in later corrections (`SpeakersEvent`).

    `segments`: the segments of the transcript, with all corrections applied.
    """

    segments: list[Segment] = field(default_factory=list)
    settled_until: float = 0.0  # seconds
    _merged: dict[str, str] = field(default_factory=dict)

    def resume(self, segments: list[Segment], events: Iterable[SpeakersEvent]) -> None:
        """Continue with the segments of earlier attempts, after applying the corrections in their `events`."""
        self.segments = segments
        for event in events:
            self.settled_until = event.settled_until
            self._rename({same.speaker: same.is_ for same in event.same})
            self.segments[:] = corrected(self.segments, event.turns)

    def update(self, diarization: LiveDiarization) -> SpeakerChanges | None:
        """Attribute recent segments to speakers again, by a newer diarization; return the changes to publish.

        Recent segments are those after `settled_until`, the time before which speakers no longer change. None: there is
        nothing to publish.
        """
        same = {label: into for label, into in diarization.merged.items() if self._merged.get(label) != into}
        self._rename(same)
        settled_until = max(self.settled_until, diarization.settled_until)
        first = bisect_left(self.segments, settled_until, key=lambda segment: segment.start)
        recent = self.segments[first:]
        again = attributed_units(attribute_known(recent, diarization.turns))
        both = [
            (before, now or before, unit)
            for (before, unit), (now, _) in zip(attributed_units(recent), again, strict=True)
        ]
        self.segments[first:] = split(recent, iter([now for _, now, _ in both]))
        turns = tuple(_turns((unit, now if now != before else None) for before, now, unit in both))
        relabelled = sum(unit.end - unit.start for before, now, unit in both if before is not None and now != before)
        if not turns and not same and settled_until < self.settled_until + _SETTLED_EVERY_S:
            return None
        self.settled_until = settled_until
        return SpeakerChanges(self.settled_until, turns, relabelled, same)

    def _rename(self, same: Mapping[str, str]) -> None:
        """Replace speaker labels in all segments; `same`: for each label to replace, the label of the same person."""
        if same:
            self._merged |= same
            self.segments[:] = [
                segment.model_copy(update={"speaker": same.get(segment.speaker or "", segment.speaker)})
                for segment in self.segments
            ]


def attribute_known(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """Attribute the words of segments to the speakers of `turns`; return the segments, split where the speaker changes.

    A returned segment has the speaker None if that speaker's turns cover less than 30 % of it.
    """
    return [
        part if _covered(part, turns) >= _MIN_COVERED else part.model_copy(update={"speaker": None})
        for part in attribute(segments, turns)
    ]


def number_of_labels(checkpoint: Checkpoint) -> int:
    """Return how many speaker labels are in use: the highest number in a published one, such as SPEAKER_02, plus 1."""
    labels = [segment.speaker for segment in checkpoint.segments if segment.speaker]
    labels += [turn.speaker for event in checkpoint.speaker_changes for turn in event.turns]
    return max((int(label.rpartition("_")[2]) + 1 for label in labels), default=0)


def _turns(units: Iterable[tuple[Unit, str | None]]) -> Iterator[Turn]:
    """Join successive words of one speaker to turns; a word whose speaker is None ends a turn, and is in none.

    `units`: the words, each with its speaker; a segment that has no words takes the place of a word.
    """
    turn: Turn | None = None
    for unit, speaker in units:
        if turn is not None and turn.speaker == speaker:
            turn = turn.model_copy(update={"end": unit.end})
            continue
        if turn is not None:
            yield turn
        turn = None if speaker is None else Turn(start=unit.start, end=unit.end, speaker=speaker)
    if turn is not None:
        yield turn


def _covered(segment: Segment, turns: Sequence[Turn]) -> float:
    """Return the fraction of a segment's duration that turns of the segment's speaker cover."""
    own = (turn for turn in turns if turn.speaker == segment.speaker)
    seconds = sum(max(min(turn.end, segment.end) - max(turn.start, segment.start), 0.0) for turn in own)
    return seconds / max(segment.end - segment.start, 1e-3)
