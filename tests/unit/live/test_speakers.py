"""Text of a live task, attributed to the speakers who are known."""

from collections.abc import Sequence

import pytest
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import SameSpeaker, SpeakersEvent
from natscribe.schemas.transcription import Segment, Word
from natscribe.schemas.voices import SpeakerVoice
from prometheus_client import CollectorRegistry

from app.engines.messages import LiveDiarization
from app.runtime.telemetry.live_metrics import LiveMetrics
from app.speech.live.speakers import SpeakerHistory, attribute_known, default_speaker, labels_in, next_number
from app.speech.updates import Checkpoint
from tests.fakes.engine import live_diarization

ANN, BOB, CYD = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"


def segment(*words: str, start: float = 0.0, speaker: str | None = None) -> Segment:
    """A segment with a word a second."""
    timed = [
        Word(start=start + number, end=start + number + 0.8, word=f" {word}", probability=0.9)
        for number, word in enumerate(words)
    ]
    return Segment(start=start, end=start + len(words), text=" ".join(words), words=timed, speaker=speaker)


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(start=start, end=end, speaker=speaker)


def event(turns: Sequence[Turn] = (), same: Sequence[SameSpeaker] = (), settled_until: float = 0.0) -> SpeakersEvent:
    return SpeakersEvent(
        task_id="live-1", sequence=1, turns=list(turns), same=list(same), voices={}, settled_until=settled_until
    )


def history_of(
    spoken: Sequence[Segment], *events: SpeakersEvent, registry: CollectorRegistry | None = None
) -> SpeakerHistory:
    metrics = LiveMetrics(registry or CollectorRegistry())
    return SpeakerHistory(list(spoken), Checkpoint(speaker_changes=events), metrics)


def texts(segments: Sequence[Segment]) -> list[tuple[str, str | None]]:
    return [(part.text, part.speaker) for part in segments]


def test_a_segment_is_split_where_the_speaker_changes() -> None:
    spoken = segment("one", "two", "three", "four", "five", "six")
    split = attribute_known([spoken], [turn(0, 3, ANN), turn(3, 6, BOB)])
    assert texts(split) == [("one two three", ANN), ("four five six", BOB)]


def test_speech_that_no_turn_covers_has_no_speaker() -> None:
    spoken = [segment("one", "two"), segment("three", "four", start=10)]
    assert texts(attribute_known(spoken, [turn(0, 2, ANN)])) == [("one two", ANN), ("three four", None)]
    assert texts(attribute_known(spoken, [])) == [("one two", None), ("three four", None)]


@pytest.mark.parametrize(("covered_s", "speaker"), [(2.9, None), (3.0, ANN)])
def test_a_segment_has_a_speaker_whose_turns_cover_three_tenths_of_it(covered_s: float, speaker: str | None) -> None:
    spoken = Segment(start=0, end=10, text="one", words=[])
    assert texts(attribute_known([spoken], [turn(0, covered_s, ANN)])) == [("one", speaker)]


def test_labels_are_counted_up_to_the_highest() -> None:
    segments = (segment("one", speaker="SPEAKER_11"), segment("two", speaker=ANN), segment("three"))
    later = event(turns=[turn(0, 1, "SPEAKER_12")])
    assert next_number(labels_in(Checkpoint(segments=segments))) == 12
    assert next_number(labels_in(Checkpoint(segments=segments, speaker_changes=(later,)))) == 13
    assert next_number(labels_in(Checkpoint(segments=(segment("one"),)))) == 0
    # And that of somebody who was named before there was a text counts
    nobody = SpeakerVoice(voice=None, name=None, score=None)
    named = event().model_copy(update={"voices": {"SPEAKER_14": nobody}})
    assert next_number(labels_in(Checkpoint(speaker_changes=(named,)))) == 15


def test_an_event_says_what_changed_and_can_be_applied_again() -> None:
    # Given text of three speakers as they were recognized, one of them not at all
    spoken = [segment("one", "two", speaker=ANN), segment("three", "four", start=5, speaker=CYD)]
    spoken.append(segment("five", "six", start=10))
    history = history_of(spoken)
    # When it turns out that the second was the first, and who said the last words
    found = live_diarization(turn(0, 2, ANN), turn(5, 7, ANN), turn(10, 12, BOB), merged={CYD: ANN})
    changes = history.update({None: found})
    # Then the event says so, and nothing else
    assert changes is not None
    assert (changes.turns, changes.same) == ([turn(10, 11.8, BOB)], [SameSpeaker(speaker=CYD, is_=ANN)])
    expected = [("one two", ANN), ("three four", ANN), ("five six", BOB)]
    assert texts(history.segments) == expected
    # And without news there is no other event
    assert history.update({None: found}) is None
    # And another worker, which reads the segments and the event, knows the same
    other = history_of(spoken, event(changes.turns, changes.same, settled_until=3))
    assert texts(other.segments) == expected
    assert other.settled_until == 3


def test_what_is_settled_does_not_change() -> None:
    registry = CollectorRegistry()
    spoken = [segment("one", "two", speaker=ANN), segment("three", start=50, speaker=ANN)]
    history = history_of(spoken, registry=registry)
    # When speech gets another speaker, part of which is settled
    changes = history.update({None: live_diarization(turn(0, 2, BOB), turn(50, 51, BOB), settled_until=40)})
    # Then the other part changes
    assert changes is not None
    assert changes.turns == [turn(50, 50.8, BOB)]
    assert registry.get_sample_value("natscribe_live_relabelled_seconds_total") == pytest.approx(0.8)
    assert texts(history.segments) == [("one two", ANN), ("three", BOB)]
    # And it remains settled, also for an engine that does not know
    assert history.update({None: live_diarization(turn(0, 2, BOB), turn(50, 51, BOB))}) is None
    # And that more is settled is an event of its own
    changes = history.update({None: live_diarization(turn(50, 51, BOB), settled_until=60)})
    assert changes is not None
    assert (changes.settled_until, changes.turns) == (60, [])


def in_channel(part: Segment, channel: int) -> Segment:
    return part.model_copy(update={"channel": channel})


def test_an_event_is_about_the_segments_of_one_channel() -> None:
    # Given two channels in which somebody speaks at the same time, and a third person who is recognized later
    spoken = [in_channel(segment("one", "two", speaker=ANN), 0), in_channel(segment("three", "four", speaker=BOB), 1)]
    history = history_of(spoken)
    speakers: dict[int | None, LiveDiarization] = {
        0: live_diarization(turn(0, 2, CYD), settled_until=30),
        1: live_diarization(turn(0, 2, BOB), settled_until=0),
    }
    changes = history.update(speakers, 0)
    # Then the words of the other channel remain, also for the next worker
    assert changes is not None
    assert (changes.channel, changes.turns) == (0, [turn(0, 1.8, CYD)])
    expected = {("one two", CYD), ("three four", BOB)}
    assert set(texts(history.segments)) == expected
    other = history_of(spoken, event(changes.turns).model_copy(update={"channel": 0}))
    assert set(texts(other.segments)) == expected
    # And only what is settled in both channels is settled
    assert changes.settled_until == 0
    assert history.update(speakers, 1) is None


@pytest.mark.parametrize(
    ("channel", "labels", "speaker"),
    [(None, [ANN], None), (1, [], BOB), (1, ["SPEAKER_03"], "SPEAKER_03"), (0, [ANN, CYD], None)],
    ids=["mixed", "nobody-yet", "one-person", "two-people"],
)
def test_unknown_speech_in_a_channel_is_that_of_its_only_speaker(
    channel: int | None, labels: list[str], speaker: str | None
) -> None:
    known = live_diarization(labels=labels)
    assert default_speaker(channel, known) == speaker
    assert texts(attribute_known([segment("one")], [], speaker)) == [("one", speaker)]
