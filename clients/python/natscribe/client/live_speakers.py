"""The speakers of a live task as its client knows them: by label and by name, with later corrections."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import groupby
from operator import itemgetter

from natscribe.client.errors import ClientError
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import SpeakersEvent
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
        if event.voices:
            await self._name(event)

    def _merge(self, label: str, into: str) -> None:
        self.voices.pop(label, None)
        self.segments = [
            segment.model_copy(update={"speaker": into}) if segment.speaker == label else segment
            for segment in self.segments
        ]

    async def _name(self, event: SpeakersEvent) -> None:
        """Update `voices` with the identified speakers in an event, who get the current names of the enrolled persons.

        A speaker is removed from `voices` if the identification is withdrawn, the voice was forgotten, or the request
        for the names fails; `name` then returns the label.
        """
        names: dict[str, str] = {}
        with suppress(ClientError):
            names = {voice.voice: voice.name async for voice in self._voices_of_user()}
        for label, voice in event.voices.items():
            if voice.voice in names:
                self.voices[label] = voice.with_current_name(names)
            else:  # forgotten, or no longer certain
                self.voices.pop(label, None)


def corrected(segments: Sequence[Segment], event: SpeakersEvent) -> list[Segment]:
    """Return segments with the speakers of the turns of `event`, split where the speaker changes.

    A word, or a segment without words, gets the speaker of the turn that covers its middle; if there is no such turn,
    its speaker does not change. Segments of other channels than that of the event do not change either.
    """
    return [part for segment in segments for part in _parts(segment, event)]


def _parts(segment: Segment, event: SpeakersEvent) -> Iterator[Segment]:
    turns = event.turns
    if not turns or segment.end < turns[0].start or segment.channel != event.channel:
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
