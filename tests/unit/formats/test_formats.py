"""Each format contains the right parts of a result."""

import pytest
from natscribe import formats
from natscribe.schemas.diarization import DiarizationResult, Turn
from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.voices import SpeakerVoice

from tests.unit.formats.test_transcript_page import KNOWN, segment_of, transcript

TWO = transcript(
    segment_of(0, "Hello.", "SPEAKER_00", end=1.5), segment_of(3661, "{Hi} <b>", "SPEAKER_01", end=3662.25), speakers=2
)
TURNS = DiarizationResult.model_validate(
    {**KNOWN, "speakers": 1, "segments": [Turn(start=0.5, end=2, speaker="SPEAKER_00")]}
)


def write(result: Result, fmt: ResultFormat) -> str:
    content = formats.write(result, fmt, SubtitleLimits())
    assert isinstance(content, str)
    return content


def test_subtitles_have_numbers_times_and_speakers() -> None:
    assert write(TWO, ResultFormat.SRT) == (
        "1\n00:00:00,000 --> 00:00:01,500\nSPEAKER_00: Hello.\n\n"
        "2\n01:01:01,000 --> 01:01:02,250\nSPEAKER_01: {Hi} <b>\n\n"
    )


NAMED = TWO.model_copy(
    update={
        "voices": {
            "SPEAKER_00": SpeakerVoice(voice="0" * 32, name="A & <B>", score=0.7),
            "SPEAKER_01": SpeakerVoice(voice=None, name="unknown", score=0.2),
        }
    }
)


def test_formats_for_people_have_names_and_unknown_speakers_their_labels() -> None:
    assert write(NAMED, ResultFormat.TXT) == "A & <B>: Hello.\nSPEAKER_01: {Hi} <b>\n"
    assert "A & <B>: Hello." in write(NAMED, ResultFormat.SRT)
    assert "<v A &amp; &lt;B&gt;>Hello." in write(NAMED, ResultFormat.VTT)
    assert "A &amp; &lt;B&gt;" in write(NAMED, ResultFormat.HTML)
    assert write(NAMED, ResultFormat.RTTM) == write(TWO, ResultFormat.RTTM)


def test_web_subtitles_name_speakers_and_escape_what_would_be_markup() -> None:
    assert write(TWO, ResultFormat.VTT) == (
        "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.500\n<v SPEAKER_00>Hello.\n\n"
        "2\n01:01:01.000 --> 01:01:02.250\n<v SPEAKER_01>{Hi} &lt;b&gt;\n\n"
    )


@pytest.mark.parametrize("fmt", [ResultFormat.SRT, ResultFormat.VTT])
def test_subtitles_keep_backslashes(fmt: ResultFormat) -> None:
    # Given what the library takes for line breaks, when it is written, then it stays
    assert r"C:\new\N" in write(transcript(segment_of(0, r"C:\new\N", end=2)), fmt)


def test_plain_text_has_a_line_a_segment() -> None:
    assert write(TWO, ResultFormat.TXT) == "SPEAKER_00: Hello.\nSPEAKER_01: {Hi} <b>\n"
    assert write(transcript(), ResultFormat.TXT) == ""


def test_turns_are_written_as_rttm() -> None:
    assert write(TURNS, ResultFormat.RTTM) == "SPEAKER t1 1 0.500 1.500 <NA> <NA> SPEAKER_00 <NA> <NA>\n"
    assert write(TWO, ResultFormat.RTTM).count("\n") == 2


@pytest.mark.parametrize(
    ("result", "fmt"),
    [
        (TURNS, ResultFormat.TXT),
        (TURNS, ResultFormat.SRT),
        (TURNS, ResultFormat.VTT),
        (transcript(segment_of(0, "x", end=1)), ResultFormat.RTTM),
    ],
)
def test_a_result_that_a_format_cannot_represent_is_an_error(result: TranscriptionResult, fmt: ResultFormat) -> None:
    with pytest.raises(formats.FormatUnavailableError, match="request"):
        write(result, fmt)
