"""Real speech, real models: how much of it is transcribed right."""

import itertools
from pathlib import Path

import pytest
import pytest_asyncio
from natscribe.client import Client
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import Numbers, TranscriptionResult

from tests.audio import silence, write
from tests.document import ROOT
from tests.e2e.conftest import TWO_CHANNELS, TWO_READERS, Running, transcribe
from tests.truth.attributed import diarization_error_rate
from tests.truth.recordings import words_of
from tests.truth.words import scored, word_error_rate
from tools import check_subtitles

pytestmark = pytest.mark.xdist_group("service")

ANNOUNCEMENTS = ROOT / "tests" / "recordings" / "speech" / "dictation-en.flac"
MAX_WORD_ERROR_RATE = 0.05  # over many words
MAX_WORD_ERROR_RATE_OF_A_SIDE = 0.4  # over the 30 words of one side of a call; mixed, most words of it are wrong
MAX_DIARIZATION_ERROR_RATE = 0.25


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(service: Running) -> TranscriptionResult:
    """What two people say, with words and speakers."""
    async with service.client() as client:
        return await transcribe(client, TWO_READERS, diarize=True, word_timestamps=True)


def lines_of(recording: Path) -> list[tuple[str, str]]:
    """The lines of a recording's transcript, each as the speaker or the channel, and the words."""
    lines = recording.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    return [(name, words) for name, _, words in (line.partition(": ") for line in lines)]


def test_the_demo_recording_is_transcribed_whole(demo: TranscriptionResult) -> None:
    assert word_error_rate(words_of(TWO_READERS), demo.text) <= MAX_WORD_ERROR_RATE
    # And its words have times
    words = [word for segment in demo.segments for word in segment.words or []]
    assert word_error_rate(words_of(TWO_READERS), "".join(word.word for word in words)) <= MAX_WORD_ERROR_RATE
    assert all(a.start <= b.start for a, b in itertools.pairwise(words))
    assert all(0 <= word.start < word.end <= demo.duration for word in words)
    # And all of it in its language, with nothing left out
    assert {segment.language for segment in demo.segments} == {demo.language} == set(demo.languages) == {"en"}
    assert demo.untranscribed == []
    # And the words have the right speakers
    credited = {"SPEAKER_00": ["", ""], "SPEAKER_01": ["", ""]}
    for speaker, text in lines_of(TWO_READERS):
        credited[speaker][0] += f" {text}"
    for segment in demo.segments:
        credited[str(segment.speaker)][1] += f" {segment.text}"
    assert scored(*zip(*credited.values(), strict=True)).rate <= MAX_WORD_ERROR_RATE


async def test_the_subtitles_of_the_demo_keep_to_all_rules(
    client: Client, demo: TranscriptionResult, tmp_path: Path
) -> None:
    # Given what two people say, with words and speakers
    result_file = tmp_path / "result.json"
    result_file.write_text(demo.model_dump_json(), encoding="utf-8")
    for fmt in (ResultFormat.SRT, ResultFormat.VTT):
        # When the result is requested as subtitles
        subtitles = tmp_path / f"subtitles.{fmt}"
        subtitles.write_text(str(await client.get_task_result(demo.task_id, fmt)), encoding="utf-8")
        # Then a program that knows the rules alone finds no breach
        rules = check_subtitles.Limits(result=result_file, max_line_chars=42, max_lines=2, max_cue_seconds=7.0)
        count, report = check_subtitles.check(subtitles, rules)
        assert count >= 8
        assert not report.broken


async def test_numbers_are_written_in_digits(client: Client) -> None:
    # Given announcements, of which one says "press two", when a task requests numbers in digits
    result = await transcribe(client, ANNOUNCEMENTS, numbers=Numbers.DIGITS, word_timestamps=True)
    # Then the number is a digit
    assert "press 2 to call" in result.text.lower()
    # And each segment is the text of its words
    assert all("".join(word.word for word in part.words or ()).strip() == part.text for part in result.segments)


async def test_the_speakers_of_the_demo_are_distinguished(client: Client) -> None:
    # Given a recording of two people with known turns, when it is diarized without the number of speakers
    result = await client.wait_for_result(await client.create_diarization_task(TWO_READERS))
    # Then both are found, and most of the time is given to the right one
    assert isinstance(result, DiarizationResult)
    assert result.speakers == 2
    assert diarization_error_rate(result.segments, result.duration) <= MAX_DIARIZATION_ERROR_RATE


async def test_both_sides_of_a_call_are_transcribed(client: Client) -> None:
    # Given a call whose sides speak at the same time, each in a language and a channel of its own, when a task names
    # no channel
    result = await transcribe(client, TWO_CHANNELS, diarize=True)
    # Then the words of each side are in its channel, under its name
    assert (result.channels, result.speakers) == (2, 2)
    for channel, (_, words) in enumerate(lines_of(TWO_CHANNELS)):
        own = [segment for segment in result.segments if segment.channel == channel]
        assert {segment.speaker for segment in own} == {f"SPEAKER_0{channel}"}
        assert word_error_rate(words, " ".join(segment.text for segment in own)) <= MAX_WORD_ERROR_RATE_OF_A_SIDE


async def test_silence_gives_no_text(client: Client, tmp_path: Path) -> None:
    result = await transcribe(client, write(tmp_path / "silence.wav", silence(10), "pcm_s16le"), diarize=True)
    assert (result.text, result.segments, result.language, result.duration) == ("", [], None, 10.0)
    assert (result.speakers, result.languages, result.untranscribed) == (0, {}, [])
