"""What a client of a live task knows about its speakers."""

from collections.abc import AsyncIterator, Sequence

import pytest
from natscribe.client.errors import ClientError, NotAllowedError, UnreachableError
from natscribe.client.live_speakers import LiveSpeakers, slice_around
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import SameSpeaker, SpeakersEvent
from natscribe.schemas.transcription import Segment, SegmentsEvent, Word
from natscribe.schemas.voices import SpeakerVoice, Voice

ANN, BOB, CYD = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"
ANNA, BORIS = "a" * 32, "b" * 32
REFUSED = NotAllowedError("follower", "voices.list", ("publisher",))


def segment(start: float, *words: str, speaker: str | None) -> Segment:
    """A segment with a word a second."""
    timed = [
        Word(start=start + number, end=start + number + 0.8, word=f" {word}", probability=1)
        for number, word in enumerate(words)
    ]
    return Segment(start=start, end=start + len(words), text=" ".join(words), words=timed or None, speaker=speaker)


def text(*segments: Segment) -> SegmentsEvent:
    return SegmentsEvent(
        task_id="t1", attempt=1, sequence=1, language=None, processed_seconds=segments[-1].end, segments=list(segments)
    )


def event(
    turns: Sequence[Turn] = (),
    same: Sequence[SameSpeaker] = (),
    voices: dict[str, SpeakerVoice] | None = None,
    settled_until: float = 0.0,
) -> SpeakersEvent:
    fields = {"turns": list(turns), "same": list(same), "voices": voices or {}, "settled_until": settled_until}
    return SpeakersEvent.model_validate({"task_id": "t1", "sequence": 1} | fields)


def recognized(voice: str | None) -> SpeakerVoice:
    return SpeakerVoice(voice=voice, name=None, score=0.7)


class Names:
    """The voices of a user; reading them may fail."""

    def __init__(self) -> None:
        self.names = {ANNA: "Anna"}
        self.error: ClientError | None = None  # that reading them raises

    async def voices(self) -> AsyncIterator[Voice]:
        if self.error:
            raise self.error
        for voice, name in self.names.items():
            consent = {"by": "Anna", "at": "2026-11-24T09:30:00Z"}
            model = {"name": "campplus", "revision": "1"}
            fields = {"voice": voice, "name": name, "consent": consent, "references": [], "model": model}
            yield Voice.model_validate(fields | {"comparable": True})


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def speakers(names: Names) -> LiveSpeakers:
    return LiveSpeakers(names.voices)


async def test_events_correct_the_words_that_they_name(speakers: LiveSpeakers) -> None:
    await speakers.add(text(segment(0, "one", "two", speaker=ANN), segment(5, speaker=BOB)))
    # When a word and a segment without words turn out to be of others
    await speakers.add(event([Turn(start=1, end=1.8, speaker=BOB), Turn(start=5, end=5.1, speaker=CYD)]))
    assert [(part.text, part.speaker) for part in speakers.segments] == [("one", ANN), ("two", BOB), ("", CYD)]
    # And when two labels are one person, then all segments have one
    await speakers.add(event(same=[SameSpeaker(speaker=CYD, is_=ANN)], settled_until=4))
    assert [part.speaker for part in speakers.segments] == [ANN, BOB, ANN]
    assert speakers.settled_until == 4


async def test_an_event_corrects_the_words_of_its_channel(speakers: LiveSpeakers) -> None:
    # Given two channels in which people speak at the same time
    both = [segment(0, "one", speaker=ANN), segment(0, "two", speaker=BOB)]
    await speakers.add(text(*(part.model_copy(update={"channel": number}) for number, part in enumerate(both))))
    # When a word of the second channel turns out to be of somebody else
    corrected = event([Turn(start=0, end=1, speaker=CYD)]).model_copy(update={"channel": 1})
    await speakers.add(corrected)
    assert [part.speaker for part in speakers.segments] == [ANN, CYD]


def test_a_change_concerns_few_of_many_segments() -> None:
    # Given an hour of a call, in which a long utterance of one person is published after later ones of the other
    call = [segment(at, "one", "two", "three", speaker=ANN) for at in range(0, 3600, 4)]
    call[455:455] = [segment(1800, *["word"] * 14, speaker=BOB)]
    # When speakers change for some seconds, then only segments around them are looked at, and none is left out
    near = call[slice_around(call, 1806, 1813)]
    assert [part for part in call if part.end >= 1806 and part.start <= 1813] == [
        part for part in near if part.end >= 1806 and part.start <= 1813
    ]
    assert len(near) < 20
    assert slice_around(call, 3540).stop == len(call)


async def test_a_recognized_speaker_has_a_name_until_the_voice_is_forgotten(
    speakers: LiveSpeakers, names: Names
) -> None:
    assert (speakers.name(ANN), speakers.name(None)) == (ANN, None)
    await speakers.add(event(voices={ANN: recognized(ANNA)}))
    assert speakers.name(ANN) == "Anna"
    await speakers.add(event(voices={ANN: recognized(None)}))
    assert speakers.name(ANN) == ANN
    # And without the permission to read voices there are labels
    names.error, speakers = REFUSED, LiveSpeakers(names.voices)
    await speakers.add(event(voices={BOB: recognized(ANNA)}))
    assert speakers.name(BOB) == BOB
    # And the voices are not requested again and again
    names.error = None
    await speakers.add(event(settled_until=10))
    assert speakers.name(BOB) == BOB


async def test_names_that_could_not_be_read_are_read_with_the_next_event(speakers: LiveSpeakers, names: Names) -> None:
    # Given a recognized speaker, and another one who is recognized while no worker replies
    await speakers.add(event(voices={ANN: recognized(ANNA)}))
    names.names, names.error = {ANNA: "Anna", BORIS: "Boris"}, UnreachableError("No worker replies.")
    await speakers.add(event(voices={BOB: recognized(BORIS)}))
    assert (speakers.name(ANN), speakers.name(BOB)) == ("Anna", BOB)
    # When there is another event, then the speaker has a name
    names.error = None
    await speakers.add(event(settled_until=10))
    assert (speakers.name(ANN), speakers.name(BOB)) == ("Anna", "Boris")
    # And when both labels are one person, then that person has one name
    await speakers.add(event(same=[SameSpeaker(speaker=BOB, is_=ANN)]))
    assert list(speakers.voices) == [ANN]
