"""The speakers of a transcript whose channels are transcribed separately."""

from collections.abc import Sequence

import pytest
from natscribe.schemas.diarization import Turn
from natscribe.schemas.live import LiveAudio, LiveTask
from natscribe.schemas.transcription import Segment, TranscriptionTask
from natscribe.schemas.wire import Model

from app.engines.messages import DiarizationDone
from app.engines.windows import WindowText
from app.speech.diarizer import BackgroundDiarization
from app.speech.transcript import TaskTranscript

ANN, BOB, CYD = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"
LIVE = LiveTask(task_id="t", user_id=7, audio=LiveAudio(channels=2), diarize=True)
RECORDED = TranscriptionTask(task_id="t", user_id=7, audio_file_id="a.wav", diarize=True)


def text(channel: int, *speakers: str | None) -> WindowText:
    """A segment of ten seconds for each speaker, one after the other."""
    segments = [
        Segment(start=10.0 * number, end=10.0 * number + 9, text=f"{channel}.{number}", speaker=speaker)
        for number, speaker in enumerate(speakers)
    ]
    return WindowText(segments=segments, language="en", end=10.0 * len(speakers), channel=channel)


def diarized(*speakers: str) -> BackgroundDiarization:
    """A diarization in which each of these speaks for ten seconds."""

    async def never(_: object) -> DiarizationDone:
        raise AssertionError

    turns = [Turn(start=10.0 * number, end=10.0 * number + 9, speaker=label) for number, label in enumerate(speakers)]
    diarization = BackgroundDiarization(never)
    diarization.result = DiarizationDone(turns=turns, duration_seconds=60, model=Model(name="m", revision="1"))
    return diarization


@pytest.mark.parametrize(
    ("task", "before", "labels"),
    [(LIVE, [CYD, CYD, ANN], [CYD, CYD, ANN]), (LIVE, [None, None, CYD], [ANN, ANN, CYD])],
    ids=["another-order", "somebody-new"],
)
def test_the_speakers_of_a_live_channel_keep_their_labels(
    task: LiveTask, before: Sequence[str | None], labels: Sequence[str]
) -> None:
    # Given a live call whose first channel has two people, as they were published
    transcript = TaskTranscript(task, channels=2)
    transcript.add(text(0, *before))
    transcript.add(text(1, BOB))
    # When the diarization of the whole recording numbers them in another order
    result = transcript.add_speakers(diarized(ANN, ANN, CYD))
    # Then each keeps the label, in the text and in the turns; the other channel keeps its only speaker
    assert result is not None
    assert [part.speaker for part in transcript.segments] == [*labels, BOB]
    assert [turn.speaker for turn in result.turns] == list(labels)


@pytest.mark.parametrize(("channels", "label"), [(None, "SPEAKER_03"), (2, "SPEAKER_04")])
def test_somebody_new_in_the_result_of_a_live_task_has_a_label_that_nobody_had(channels: int, label: str) -> None:
    # Given live text of one person, two labels of whom were merged into one
    transcript = TaskTranscript(LIVE, channels=channels)
    transcript.add(text(0, ANN, ANN, ANN))
    # When the diarization of the whole recording finds another person
    transcript.add_speakers(diarized(ANN, ANN, CYD), next_label=3)
    # Then that person's label was never published
    assert [part.speaker for part in transcript.segments] == [ANN, ANN, label]


def test_a_live_channel_keeps_people_whom_the_diarization_of_the_recording_misses() -> None:
    # Given a live call with two people in the first channel
    transcript = TaskTranscript(LIVE, channels=2)
    transcript.add(text(0, ANN, CYD))
    transcript.add(text(1, BOB))
    # When the diarization of the recording has one there, as where it takes crosstalk for the person
    result = transcript.add_speakers(diarized(ANN, BOB))
    # Then the text has the two, and nobody is named by the voice of the one
    assert [part.speaker for part in transcript.segments] == [ANN, CYD, BOB]
    assert result is not None
    assert [turn.speaker for turn in result.turns] == [BOB]


def test_the_speakers_of_a_recorded_channel_are_numbered_by_their_first_turns() -> None:
    transcript = TaskTranscript(RECORDED, channels=2)
    transcript.add(text(0, None, None, None))
    transcript.add(text(1, None))
    # Before the diarization each channel is one speaker
    assert [part.speaker for part in transcript.segments] == [ANN, ANN, ANN, BOB]
    transcript.add_speakers(diarized(ANN, CYD, CYD))
    assert [part.speaker for part in transcript.segments] == [ANN, CYD, CYD, BOB]
