"""The bundled model on real speech."""

import re
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest

from app.engines.messages import StageAdvanced, Transcribe, Transcribed, TranscriptionDone
from app.engines.transcription import transcribe
from app.engines.whisper import Whisper
from schemas.transcription import Segment

from .sounds import CLIPS, NO_LIMIT, load, silence, write

pytestmark = pytest.mark.xdist_group("transcription")  # one model and one uninterrupted run

MOST_ERRORS = 0.08  # word error rate; the references are not normalized


def run(whisper: Whisper, path: Path, **options: object) -> list[Transcribed | TranscriptionDone]:
    job = Transcribe.model_validate({"path": path, "words": True} | options)
    return [each for each in transcribe(whisper, job, NO_LIMIT) if isinstance(each, Transcribed | TranscriptionDone)]


def segments(replies: list[Transcribed | TranscriptionDone]) -> list[Segment]:
    return [segment for reply in replies if isinstance(reply, Transcribed) for segment in reply.segments]


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("mr.", "mister")).split())


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, with pauses, so that there is more than one window."""
    pieces = [piece for clip in CLIPS for piece in (load(clip), silence(2.5))]
    return write(tmp_path_factory.mktemp("reading") / "reading.flac", np.concatenate(pieces), "flac")


@pytest.fixture(scope="module")
def replies(whisper: Whisper, reading: Path) -> list[Transcribed | TranscriptionDone]:
    """What an uninterrupted run finds in the reading."""
    return run(whisper, reading)


def test_a_reading_is_written_down(replies: list[Transcribed | TranscriptionDone]) -> None:
    # Given a reading whose text is known, when it is transcribed
    expected = plain(" ".join(clip.with_suffix(".txt").read_text(encoding="utf-8") for clip in CLIPS))

    # Then the text is right, the language is found, and the times are in order
    found = segments(replies)
    assert jiwer.wer(expected, plain(" ".join(segment.text for segment in found))) < MOST_ERRORS
    assert isinstance(replies[-1], TranscriptionDone)
    assert replies[-1].language == "en"
    words = [word for segment in found for word in segment.words or []]
    assert all(before.start <= after.start for before, after in pairwise(words))
    assert all(word.start <= word.end <= replies[-1].duration_seconds for word in words)


def test_a_resumed_run_gives_the_text_of_an_uninterrupted_one(
    whisper: Whisper, reading: Path, replies: list[Transcribed | TranscriptionDone]
) -> None:
    # Given an uninterrupted run
    batches = [reply for reply in replies if isinstance(reply, Transcribed)]
    assert len(batches) > 1

    # When another run goes on after its first batch, from what is known on the wire
    start = round(batches[0].processed_seconds, 3)
    again = segments(run(whisper, reading, start_at=start, language="en"))

    # Then text and times are the same
    rest = [segment for batch in batches[1:] for segment in batch.segments]
    assert [segment.text for segment in again] == [segment.text for segment in rest]
    assert [segment.start for segment in again] == pytest.approx([segment.start for segment in rest], abs=0.05)


def test_words_are_left_out_unless_asked_for(whisper: Whisper) -> None:
    # Given a clip, when it is transcribed without word times, then segments have none
    assert all(segment.words is None for segment in segments(run(whisper, CLIPS[1], words=False)))


@pytest.mark.parametrize("kind", ["silence", "noise", "hum"])
def test_no_speech_gives_no_text(whisper: Whisper, tmp_path: Path, kind: str) -> None:
    # Given 40 s in which nobody speaks
    time = np.arange(40 * 16_000) / 16_000
    sounds = {
        "silence": silence(40),
        "noise": (np.random.default_rng(1).standard_normal(len(time)) * 0.05).astype(np.float32),
        "hum": (np.sin(2 * np.pi * 50 * time) * 0.2).astype(np.float32),
    }
    path = write(tmp_path / "nobody.flac", sounds[kind], "flac")

    # When it is transcribed
    replies = run(whisper, path)

    # Then there is no text and no language
    assert segments(replies) == []
    assert isinstance(replies[-1], TranscriptionDone)
    assert replies[-1].language is None
    assert replies[-1].duration_seconds == pytest.approx(40)


def test_only_languages_of_the_model_are_known(whisper: Whisper) -> None:
    assert whisper.knows("ru")
    assert not whisper.knows("yue")  # larger models know it
    assert not whisper.knows("xx")


def test_nothing_counts_as_done_before_its_text_is_there(whisper: Whisper) -> None:
    # Given a short recording that is all speech
    replies = list(transcribe(whisper, Transcribe(path=CLIPS[1]), NO_LIMIT))
    first_text = next(number for number, reply in enumerate(replies) if isinstance(reply, Transcribed))
    # When its progress is told before the first text
    told = [reply.processed_seconds for reply in replies[:first_text] if isinstance(reply, StageAdvanced)]
    # Then no more of it is done than the silence before the first word
    assert told
    assert max(told) <= segments(replies)[0].start
