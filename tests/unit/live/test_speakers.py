"""Text of a live task, attributed to the speakers who are known."""

from collections.abc import Sequence

from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Segment, Word

from app.live.speakers import attribute_known, number_of_labels

ANN, BOB = "SPEAKER_00", "SPEAKER_01"


def segment(*words: str, start: float = 0.0, speaker: str | None = None) -> Segment:
    """A segment with a word a second."""
    timed = [
        Word(start=start + number, end=start + number + 0.8, word=f" {word}", probability=0.9)
        for number, word in enumerate(words)
    ]
    return Segment(start=start, end=start + len(words), text=" ".join(words), words=timed, speaker=speaker)


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(start=start, end=end, speaker=speaker)


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


def test_labels_are_counted_up_to_the_highest() -> None:
    assert number_of_labels([segment("one", speaker="SPEAKER_11"), segment("two", speaker=ANN), segment("three")]) == 12
    assert number_of_labels([segment("one")]) == 0
