from base64 import b64encode
from collections.abc import Sequence

import pytest
from natscribe.schemas.diarization import Turn
from natscribe.schemas.wire import Model

from app.engines.messages import DiarizationDone, RecordingEmbeddings, SpeakerEmbedding
from app.speech.speaker_labels import channel_of, combined

MODEL = Model(name="m", revision="1")
ANN, BOB, CYD, NOBODY = bytes([100, 0, 0]), bytes([0, 100, 0]), bytes([0, 0, 100]), b""

Speech = Sequence[tuple[int, float, float]]  # speaker, from, to


def channel(speech: Speech, *people: bytes) -> DiarizationDone:
    """What is found in a channel in which these people speak; each has an embedding, or none."""
    speakers = [
        SpeakerEmbedding(
            speaker=f"SPEAKER_{number:02}", seconds=9, agreement=1, values=b64encode(person).decode(), telephone=""
        )
        for number, person in enumerate(people)
    ]
    turns = [Turn(start=start, end=end, speaker=f"SPEAKER_{number:02}") for number, start, end in speech]
    embedded = RecordingEmbeddings(model=MODEL, speakers=speakers)
    return DiarizationDone(turns=turns, duration_seconds=60, model=MODEL, embedded=embedded)


def labels_in(*channels: DiarizationDone) -> list[str]:
    done = combined(channels)
    assert done.embedded is not None
    assert [speaker.speaker for speaker in done.embedded.speakers] == list(dict.fromkeys(t.speaker for t in done.turns))
    return [turn.speaker for turn in done.turns]


def test_no_label_depends_on_the_other_channel() -> None:
    # Given three people in one channel, and in the other one person, who speaks at the same time as one of them
    three = channel([(0, 0, 10), (1, 20, 30), (2, 40, 50), (0, 55, 60)], ANN, BOB, CYD)
    one = channel([(0, 18, 32)], bytes([60, 0, 60]))

    # When they are combined, then each label says the channel
    labels = labels_in(three, one)
    assert labels == ["SPEAKER_00", "SPEAKER_02", "SPEAKER_04", "SPEAKER_00", "SPEAKER_01"]
    assert [channel_of(label, 2) for label in labels] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("start", "person", "is_echo"),
    [(20, BOB, True), (20, NOBODY, True), (20, CYD, False), (24, BOB, False)],
    ids=["echo", "echo-without-embedding", "another-person", "at-other-times"],
)
def test_an_echo_of_the_other_channel_is_no_speaker(start: float, person: bytes, is_echo: bool) -> None:
    # Given a call in which the second person's speech, or somebody else's, is faintly in the first channel, too
    first = channel([(0, 0, 15), (1, start, start + 10)], ANN, person)
    second = channel([(0, 20, 30)], BOB)

    # When the channels are combined, then each has its person, and another one who is no echo
    assert labels_in(first, second) == ["SPEAKER_00", *([] if is_echo else ["SPEAKER_02"]), "SPEAKER_01"]


def test_a_channel_whose_main_speaker_is_an_echo_keeps_it() -> None:
    # Given two channels with the same speech, when they are combined, then each has a speaker
    assert labels_in(channel([(0, 0, 15)], ANN), channel([(0, 0, 15)], ANN)) == ["SPEAKER_00", "SPEAKER_01"]


def test_a_silent_channel_has_no_speaker() -> None:
    assert labels_in(channel([]), channel([(0, 0, 5)], ANN)) == ["SPEAKER_01"]
