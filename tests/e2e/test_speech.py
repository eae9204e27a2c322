"""Real speech, real models: how much of it is transcribed right."""

import itertools
import re
import wave
from pathlib import Path

import jiwer
import pytest
import pytest_asyncio
from natscribe.client import Client
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.transcription import TranscriptionResult

from tests.e2e.conftest import LIBRIVOX, TWO_CHANNELS, TWO_READERS, Running
from tests.sounds import load, write_channels
from tests.truth.accuracy import diarization_error_rate
from tools import check_subtitles

pytestmark = pytest.mark.xdist_group("service")

WORST_WORD_ERROR_RATE = 0.05  # over many words
MOST_OF_ONE_CLIP = 0.2  # over the 21 words of one clip
MOST_OF_A_SIDE = 0.4  # over the 30 words of one side of a call; mixed, most words of it are wrong
WORST_DIARIZATION_ERROR_RATE = 0.25
SPOKEN = {"mr": "mister", "29340": "two nine three four zero"}


def plain(text: str) -> str:
    """Words as they are spoken: lower case, no punctuation, no digits."""
    words = re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()
    return " ".join(SPOKEN.get(word, word) for word in words)


async def transcribe(
    client: Client, recording: Path, *, diarize: bool = False, word_timestamps: bool = False
) -> TranscriptionResult:
    task_id = await client.create_transcription_task(recording, diarize=diarize, word_timestamps=word_timestamps)
    async for event in client.follow(task_id):
        last = event
    assert isinstance(last, ProgressEvent)
    assert last.state is State.COMPLETED, last
    result = await client.get_task_result(task_id)
    assert isinstance(result, TranscriptionResult)
    return result


async def test_the_librivox_clips_are_transcribed_correctly(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    # Given five clips with known words
    clips = sorted(LIBRIVOX.glob("*.flac"))
    said = [clip.with_suffix(".txt").read_text(encoding="utf-8").strip() for clip in clips]
    # When they are transcribed
    found = [plain((await transcribe(client, clip)).text) for clip in clips]
    # Then few words are wrong
    rate = jiwer.wer(said, found)
    with capsys.disabled():
        print(f"\nword error rate on {len(clips)} LibriVox clips: {100 * rate:.1f} %")
    assert rate <= WORST_WORD_ERROR_RATE


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def demo(service: Running) -> TranscriptionResult:
    """What two people say, with words and speakers."""
    async with service.client() as client:
        return await transcribe(client, TWO_READERS, diarize=True, word_timestamps=True)


def test_the_demo_recording_is_transcribed_whole(demo: TranscriptionResult) -> None:
    lines = TWO_READERS.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    said = " ".join(line.partition(": ")[2] for line in lines)
    result = demo
    assert jiwer.wer(said, plain(result.text)) <= WORST_WORD_ERROR_RATE
    # And its words have times
    words = [word for segment in result.segments for word in segment.words or []]
    assert jiwer.wer(said, plain("".join(word.word for word in words))) <= WORST_WORD_ERROR_RATE
    assert all(a.start <= b.start for a, b in itertools.pairwise(words))
    assert all(0 <= word.start < word.end <= result.duration for word in words)
    # And all of it in its language, with nothing left out
    assert {segment.language for segment in result.segments} == {result.language} == set(result.languages) == {"en"}
    assert result.untranscribed == []
    # And the speakers are credited with what they said
    speakers = ("SPEAKER_00", "SPEAKER_01")
    theirs = [" ".join(line.partition(": ")[2] for line in lines if line.startswith(speaker)) for speaker in speakers]
    credited = [
        plain(" ".join(segment.text for segment in result.segments if segment.speaker == speaker))
        for speaker in speakers
    ]
    assert jiwer.wer(theirs, credited) <= WORST_WORD_ERROR_RATE


async def test_the_subtitles_of_the_demo_keep_to_all_rules(
    client: Client, demo: TranscriptionResult, tmp_path: Path
) -> None:
    # Given what two people say, with words and speakers
    answer = tmp_path / "result.json"
    answer.write_text(demo.model_dump_json(), encoding="utf-8")
    for fmt in (ResultFormat.SRT, ResultFormat.VTT):
        # When it is asked for as subtitles
        subtitles = tmp_path / f"subtitles.{fmt}"
        subtitles.write_text(str(await client.get_task_result(demo.task_id, fmt)), encoding="utf-8")
        # Then a program that knows the rules alone finds no breach
        rules = check_subtitles.Limits(result=answer, max_line_chars=42, max_lines=2, max_cue_seconds=7.0)
        count, report = check_subtitles.check(subtitles, rules)
        assert count >= 8
        assert not report.broken


async def test_the_speakers_of_the_demo_are_distinguished(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a recording of two people with known turns
    # When it is diarized, without the number of speakers
    task_id = await client.create_diarization_task(TWO_READERS)
    async for _ in client.follow(task_id):
        pass
    result = await client.get_task_result(task_id)
    assert isinstance(result, DiarizationResult)
    # Then both are found, and most of the time is given to the right one
    turns = [turn.model_dump() for turn in result.segments]
    rate = diarization_error_rate(turns, result.duration, TWO_READERS.with_suffix(".rttm"))
    with capsys.disabled():
        print(f"\ndiarization error rate on the demo recording, collar 0: {100 * rate:.1f} %")
    assert result.speakers == 2
    assert rate <= WORST_DIARIZATION_ERROR_RATE


async def test_both_sides_of_a_call_are_transcribed(client: Client) -> None:
    # Given a call whose sides speak at the same time, each in a language and a channel of its own
    lines = TWO_CHANNELS.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    said = [re.sub(r"\W+", " ", line.partition(": ")[2]).casefold() for line in lines]
    # When a task says nothing of channels
    result = await transcribe(client, TWO_CHANNELS, diarize=True)
    # Then the words of each side are in its channel, under its name
    assert (result.channels, result.speakers) == (2, 2)
    for channel, words in enumerate(said):
        own = [segment for segment in result.segments if segment.channel == channel]
        assert {segment.speaker for segment in own} == {f"SPEAKER_0{channel}"}
        found = re.sub(r"\W+", " ", " ".join(segment.text for segment in own)).casefold()
        assert jiwer.wer(words, found) <= MOST_OF_A_SIDE


@pytest.mark.parametrize("other", [0.0, 0.5], ids=["silence", "the same sound"])
async def test_a_second_channel_that_adds_nothing_changes_nothing(client: Client, tmp_path: Path, other: float) -> None:
    # Given a clip whose second channel is silent or a copy of the first one
    clip = min(LIBRIVOX.glob("*.flac"))
    sound = load(clip)
    stereo = write_channels(tmp_path / "stereo.flac", [sound, other * sound], "flac")
    # When it is transcribed, then its words are found once, and no channel is a speaker
    result = await transcribe(client, stereo)
    assert (
        jiwer.wer(plain(clip.with_suffix(".txt").read_text(encoding="utf-8")), plain(result.text)) <= MOST_OF_ONE_CLIP
    )
    assert result.channels is None
    assert {(segment.channel, segment.speaker) for segment in result.segments} == {(None, None)}


async def test_silence_gives_no_text(client: Client, tmp_path: Path) -> None:
    silence = tmp_path / "silence.wav"
    with wave.open(str(silence), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(2 * 16_000 * 10))
    result = await transcribe(client, silence, diarize=True)
    assert (result.text, result.segments, result.language, result.duration) == ("", [], None, 10.0)
    assert result.speakers == 0
    assert (result.languages, result.untranscribed) == ({}, [])
