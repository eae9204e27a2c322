"""The speakers of a live task as its client knows them: by label and by name, with later corrections."""

from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from math import inf
from operator import attrgetter, itemgetter

from natscribe.client.errors import ClientError, NotAllowedError
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import MAX_UTTERANCE_S, SpeakersEvent
from natscribe.schemas.transcription import Segment, SegmentsEvent, Word
from natscribe.schemas.voices import SpeakerVoice, Voice


class LiveSpeakers:
    """The speakers of a live task, with all changes so far.

    `segments`: the segments so far, with the speakers that later events have given them. `voices`: by speaker label,
    the enrolled person who was recognized as the speaker, with the current name. `settled_until`: the speakers of the
    audio before this time, in seconds, no longer change.
    """

    def __init__(self, voices: Callable[[], AsyncIterator[Voice]]) -> None:
        """Start without segments.

        `voices`: requests all voices that the user has enrolled, for their current names. It is called again for each
        event that reports which speakers are recognized.
        """
        self.segments: list[Segment] = []
        self.voices: dict[str, SpeakerVoice] = {}
        self.settled_until = 0.0
        self._voices_of_user = voices
        self._recognized: dict[str, SpeakerVoice] = {}  # by label, as published: without names
        self._names: dict[str, str] = {}  # by voice id, when they were last read
        self._is_outdated = False  # whether `_names` has to be read

    def name(self, label: str | None) -> str | None:
        """Return the name of a speaker, or the label if the speaker has no name; None if `label` is None."""
        voice = self.voices.get(label or "")
        return label if voice is None else voice.name

    async def add(self, event: SegmentsEvent | SpeakersEvent) -> None:
        """Add the new segments in `event`, or apply its changes to the speakers of earlier segments."""
        if isinstance(event, SegmentsEvent):
            self.segments += event.segments
            return
        self.segments = corrected(self.segments, event)
        for same in event.same:
            self._merge(same.speaker, same.is_)
        self.settled_until = event.settled_until
        self._recognized |= event.voices
        self._is_outdated |= bool(event.voices)
        if self._is_outdated:
            with suppress(ClientError):  # the names are read again with the next event
                await self._read_names()
                self._is_outdated = False
        self.voices = {
            label: voice.with_current_name(self._names)
            for label, voice in self._recognized.items()
            if voice.voice in self._names  # otherwise forgotten, no longer certain, or not read yet
        }

    async def _read_names(self) -> None:
        with suppress(NotAllowedError):  # nor later
            self._names = {voice.voice: voice.name async for voice in self._voices_of_user()}

    def _merge(self, label: str, into: str) -> None:
        self._recognized.pop(label, None)
        self.segments = [
            segment.model_copy(update={"speaker": into}) if segment.speaker == label else segment
            for segment in self.segments
        ]


def corrected(segments: Sequence[Segment], event: SpeakersEvent) -> list[Segment]:
    """Return segments with the speakers of the turns of `event`, split where the speaker changes.

    A word, or a segment without words, gets the speaker of the turn that covers its middle; if there is no such turn,
    its speaker does not change. Segments of other channels than that of the event do not change either.
    """
    if not event.turns:
        return list(segments)
    near = slice_around(segments, event.turns[0].start, event.turns[-1].end)
    parts = [part for segment in segments[near] for part in _parts(segment, event)]
    return [*segments[: near.start], *parts, *segments[near.stop :]]


def slice_around(segments: Sequence[Segment], start: float, end: float = inf) -> slice:
    """Return a slice that contains all segments of a live task between two times (seconds), and few others.

    It is found by binary search, so that a change costs no more after hours. The segments are in the order in which
    they were published: that of their ends, apart from those of other channels within one utterance.
    """
    first = bisect_left(segments, start - MAX_UTTERANCE_S, key=attrgetter("end"))
    return slice(first, bisect_left(segments, end + 2 * MAX_UTTERANCE_S, key=attrgetter("end")))


def _parts(segment: Segment, event: SpeakersEvent) -> Iterator[Segment]:
    turns = event.turns
    if segment.end < turns[0].start or segment.channel != event.channel:
        yield segment
        return
    if not segment.words:
        yield segment.model_copy(update={"speaker": _speaker(segment, turns) or segment.speaker})
        return
    attributed = [(_speaker(word, turns) or segment.speaker, word) for word in segment.words]
    if all(speaker == segment.speaker for speaker, _ in attributed):
        yield segment
        return
    for speaker, group in groupby(attributed, key=itemgetter(0)):
        words = [word for _, word in group]
        text = "".join(word.word for word in words).strip()
        times = {"start": words[0].start, "end": words[-1].end}
        yield segment.model_copy(update={"speaker": speaker, "text": text, "words": words, **times})


def _speaker(unit: Segment | Word, turns: Sequence[Turn]) -> str | None:
    middle = (unit.start + unit.end) / 2
    return next((turn.speaker for turn in turns if turn.start <= middle <= turn.end), None)
