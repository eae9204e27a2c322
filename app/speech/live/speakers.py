"""The speakers of a live task: attributes text to them, and corrects the speakers of segments already published."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from itertools import groupby
from operator import attrgetter, itemgetter

from natscribe.client.live_speakers import corrected, slice_around
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import SameSpeaker, SpeakerChanges
from natscribe.schemas.transcription import Segment
from natscribe.schemas.voices import SpeakerVoice

from app.engines.messages import LiveDiarization
from app.engines.windows import WindowText
from app.runtime.telemetry.live_metrics import LiveMetrics
from app.speech.attribution import Unit, attribute, attributed_units, split
from app.speech.speaker_labels import speaker_label
from app.speech.updates import Checkpoint

_MIN_COVERED = 0.3  # least share of a segment that turns of its speaker cover
_SETTLED_EVERY_S = 10.0  # how often an event reports only that more speakers are settled

Speakers = Mapping[int | None, LiveDiarization]  # the newest diarization of each channel


@dataclass(eq=False, slots=True)
class SpeakerHistory:
    """The speakers of a live task as published: in its segments, and in later corrections (`SpeakerChanges`).

    `segments`: the segments of the transcript, with all corrections applied; they are corrected in place.
    `settled_until`: the time in seconds before which speakers no longer change. `_labels`: all labels so far.
    `_merged`: maps each label that was replaced to the label that replaced it, because both belong to one person.
    """

    segments: list[Segment]
    checkpoint: InitVar[Checkpoint]
    metrics: LiveMetrics
    settled_until: float = 0.0
    _labels: set[str] = field(default_factory=set)
    _merged: dict[str, str] = field(default_factory=dict)
    _published: set[str | None] = field(default_factory=set)  # the labels of segments when they were published

    def __post_init__(self, checkpoint: Checkpoint) -> None:
        """Apply the corrections of earlier attempts to the segments that they have stored."""
        self._labels.update(labels_in(checkpoint))
        self._published |= {None, *(segment.speaker for segment in self.segments)}
        for event in checkpoint.speaker_changes:
            self.settled_until = event.settled_until
            self._rename({same.speaker: same.is_ for same in event.same})
            self.segments[:] = corrected(self.segments, event)

    @property
    def next_label(self) -> int:
        """The number of the first label that nobody has had."""
        return next_number(self._labels)

    def attribute(self, text: WindowText, speakers: Speakers) -> WindowText:
        """Return new text with the speakers that are known so far, and with its segments split where they change."""
        own = speakers[text.channel]
        segments = attribute_known(text.segments, own.turns, default_speaker(text.channel, own))
        self._labels.update(label for channel in speakers.values() for label in (*channel.labels, *channel.merged))
        new = {segment.speaker for segment in segments} - self._published
        self._published |= new
        self.metrics.speakers.inc(len(new))
        return text.model_copy(update={"segments": segments})

    def update(self, speakers: Speakers, channel: int | None = None) -> SpeakerChanges | None:
        """Attribute the recent segments of a channel to speakers again; return the changes, or None if there are none.

        `speakers`: the newest diarization of each channel. `channel`: None if the channels are mixed. Recent segments
        are those whose speakers may still change, i.e. those after `settled_until`. If nothing but `settled_until`
        changes, None is returned until it has grown by 10 s.
        """
        diarization = speakers[channel]
        same = {label: into for label, into in diarization.merged.items() if self._merged.get(label) != into}
        self._rename(same)
        settled_until = max(self.settled_until, min(own.settled_until for own in speakers.values()))
        words = self._attribute_again(channel, settled_until, diarization.turns)
        turns = list(_turns((unit, now if now != before else None) for before, now, unit in words))
        relabelled = (unit.end - unit.start for before, now, unit in words if before is not None and now != before)
        self.metrics.relabelled_seconds.inc(sum(relabelled))
        if not turns and not same and settled_until < self.settled_until + _SETTLED_EVERY_S:
            return None
        pairs = [SameSpeaker(speaker=label, is_=into) for label, into in same.items()]
        return self.settle(settled_until).model_copy(update={"channel": channel, "turns": turns, "same": pairs})

    def settle(self, until: float | None = None, voices: Mapping[str, SpeakerVoice] | None = None) -> SpeakerChanges:
        """Return changes that only settle the speakers `until` this time, in seconds, or name the `voices` of some."""
        self.settled_until = self.settled_until if until is None else until
        return SpeakerChanges(turns=[], same=[], voices=dict(voices or {}), settled_until=self.settled_until)

    def _attribute_again(
        self, channel: int | None, since: float, turns: Sequence[Turn]
    ) -> list[tuple[str | None, str | None, Unit]]:
        """Attribute the segments of a channel to the speakers of `turns`, if they begin at `since` (seconds) or later.

        Return (speaker before, speaker now, word) for each of their words; a segment without words takes the place of a
        word. The speaker stays the same where `turns` cover too little of the text.
        """
        segments, recent, near = list[Segment](), list[Segment](), slice_around(self.segments, since)
        for segment in self.segments[near]:
            is_recent = segment.channel == channel and segment.start >= since
            (recent if is_recent else segments).append(segment)
        attributed = attributed_units(attribute_known(recent, turns))
        words = [
            (before, now or before, unit)
            for (before, unit), (now, _) in zip(attributed_units(recent), attributed, strict=True)
        ]
        segments += split(recent, iter([now for _, now, _ in words]))
        self.segments[near] = sorted(segments, key=attrgetter("start"))
        return words

    def _rename(self, same: Mapping[str, str]) -> None:
        """Replace speaker labels in all segments; `same` maps each old label to the new label of the same person."""
        if same:
            self._merged |= same
            self.segments[:] = [
                segment.model_copy(update={"speaker": same.get(segment.speaker or "", segment.speaker)})
                for segment in self.segments
            ]


def attribute_known(segments: Sequence[Segment], turns: Sequence[Turn], unknown: str | None = None) -> list[Segment]:
    """Attribute the words of segments to the speakers of `turns`; return the segments, split where the speaker changes.

    If the turns of a returned segment's speaker cover less than 30 % of it, its speaker is set to `unknown`.
    """
    return [
        part if _covered(part, turns) >= _MIN_COVERED else part.model_copy(update={"speaker": unknown})
        for part in attribute(segments, turns)
    ]


def with_earlier_turns(diarization: LiveDiarization, before: LiveDiarization, since: float) -> LiveDiarization:
    """Return `diarization`, with the turns added that were in the earlier one, `before`, and are too old for this one.

    They are needed when a worker catches up, and text comes more than two minutes after its audio. `since`: turns that
    end before this time, in seconds, are left out.
    """
    settled_until, merged = diarization.settled_until, diarization.merged
    earlier = [
        Turn(start=turn.start, end=min(turn.end, settled_until), speaker=merged.get(turn.speaker, turn.speaker))
        for turn in before.turns
        if turn.end > since and turn.start < settled_until
    ]
    return diarization.model_copy(update={"turns": [*earlier, *diarization.turns]})


def default_speaker(channel: int | None, diarization: LiveDiarization) -> str | None:
    """Return the speaker to assume for text whose speaker is not recognized; None: unknown.

    A separate channel is assumed to have one speaker until diarization finds a second one. `channel`: None if the
    channels are mixed.
    """
    if channel is None or len(diarization.labels) > 1:
        return None
    return next(iter(diarization.labels), speaker_label(channel))


def labels_in(checkpoint: Checkpoint) -> Iterator[str]:
    """Yield the published speaker labels."""
    yield from (segment.speaker for segment in checkpoint.segments if segment.speaker)
    for event in checkpoint.speaker_changes:
        yield from (*(turn.speaker for turn in event.turns), *(same.speaker for same in event.same), *event.voices)


def next_number(labels: Iterable[str]) -> int:
    """Return the number of the first label that is not in use: the highest number, as in SPEAKER_02, plus 1."""
    return max((int(label.rpartition("_")[2]) + 1 for label in labels), default=0)


def _turns(units: Iterable[tuple[Unit, str | None]]) -> Iterator[Turn]:
    """Join successive words of one speaker into turns; a word whose speaker is None ends a turn, and is in none.

    `units`: the words, each with its speaker; a segment that has no words takes the place of a word.
    """
    for speaker, group in groupby(units, key=itemgetter(1)):
        words = [unit for unit, _ in group]
        if speaker is not None:
            yield Turn(start=words[0].start, end=words[-1].end, speaker=speaker)


def _covered(segment: Segment, turns: Sequence[Turn]) -> float:
    """Return the fraction of a segment's duration that turns of the segment's speaker cover."""
    own = (turn for turn in turns if turn.speaker == segment.speaker)
    seconds = sum(max(min(turn.end, segment.end) - max(turn.start, segment.start), 0.0) for turn in own)
    return seconds / max(segment.end - segment.start, 1e-3)
