"""The bundled model on real speech."""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
import pytest_asyncio
from faster_whisper import WhisperModel

from app.engines.listening import find_windows
from app.engines.messages import Job, Listen, Load, Loaded, Reply, StageAdvanced, Transcribe
from app.engines.mixing import SAMPLE_RATE
from app.engines.transcription import transcribe
from app.engines.whisper import Whisper
from app.speech.transcriber_pool import Transcribed
from app.speech.windows_in_order import WindowsInOrder
from schemas.transcription import Segment

from .sounds import CLIPS, NO_LIMIT, load, silence, write

pytestmark = pytest.mark.xdist_group("transcription")  # one model and one uninterrupted run

MOST_ERRORS = 0.08  # word error rate; the references are not normalized


@dataclass
class InThisProcess:
    """The engine without its processes."""

    whisper: Whisper
    ready: bool = True
    loaded: Loaded | None = None

    async def load(self) -> None:
        """It is loaded."""

    async def close(self) -> None:
        """It has no process."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        match job:
            case Listen():
                for reply in find_windows(job, NO_LIMIT):
                    yield reply
            case Load():
                yield Loaded(model=self.whisper.identity)
            case Transcribe():
                yield transcribe(self.whisper, job)


@dataclass(frozen=True)
class Run:
    """What a whole run found."""

    batches: list[Transcribed]
    language: str | None
    duration: float

    @property
    def segments(self) -> list[Segment]:
        return [segment for batch in self.batches for segment in batch.segments]


async def run(
    whisper: Whisper, path: Path, *, words: bool = True, start_at: float = 0.0, language: str | None = None
) -> Run:
    job = Transcribe(windows=[], words=words, language=language)
    windows = WindowsInOrder(InThisProcess(whisper), Listen(path=path, start_at=start_at), job, largest=4)
    batches = [told async for told in windows.run() if isinstance(told, Transcribed)]
    return Run(batches, windows.language, windows.duration)


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("mr.", "mister")).split())


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, with pauses, so that there is more than one window."""
    pieces = [piece for clip in CLIPS for piece in (load(clip), silence(2.5))]
    return write(tmp_path_factory.mktemp("reading") / "reading.flac", np.concatenate(pieces), "flac")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uninterrupted(whisper: Whisper, reading: Path) -> Run:
    return await run(whisper, reading)


def test_a_reading_is_written_down(uninterrupted: Run) -> None:
    # Given a reading whose text is known, when it is transcribed
    expected = plain(" ".join(clip.with_suffix(".txt").read_text(encoding="utf-8") for clip in CLIPS))

    # Then the text is right, the language is found, and the times are in order
    found = uninterrupted.segments
    assert jiwer.wer(expected, plain(" ".join(segment.text for segment in found))) < MOST_ERRORS
    assert uninterrupted.language == "en"
    words = [word for segment in found for word in segment.words or []]
    assert all(before.start <= after.start for before, after in pairwise(words))
    assert all(word.start <= word.end <= uninterrupted.duration for word in words)


async def test_a_resumed_run_gives_the_text_of_an_uninterrupted_one(
    whisper: Whisper, reading: Path, uninterrupted: Run
) -> None:
    # Given an uninterrupted run
    first, *others = uninterrupted.batches
    assert others

    # When another run goes on after its first batch, from what is known on the wire
    again = (await run(whisper, reading, start_at=round(first.processed_seconds, 3), language="en")).segments

    # Then text and times are the same
    rest = [segment for batch in others for segment in batch.segments]
    assert [segment.text for segment in again] == [segment.text for segment in rest]
    assert [segment.start for segment in again] == pytest.approx([segment.start for segment in rest], abs=0.05)


async def test_words_are_left_out_unless_asked_for(whisper: Whisper) -> None:
    # Given a clip, when it is transcribed without word times, then segments have none
    assert all(segment.words is None for segment in (await run(whisper, CLIPS[1], words=False)).segments)


@pytest.mark.parametrize("kind", ["silence", "noise", "hum"])
async def test_no_speech_gives_no_text(whisper: Whisper, tmp_path: Path, kind: str) -> None:
    # Given 40 s in which nobody speaks
    time = np.arange(40 * 16_000) / 16_000
    sounds = {
        "silence": silence(40),
        "noise": (np.random.default_rng(1).standard_normal(len(time)) * 0.05).astype(np.float32),
        "hum": (np.sin(2 * np.pi * 50 * time) * 0.2).astype(np.float32),
    }
    path = write(tmp_path / "nobody.flac", sounds[kind], "flac")

    # When it is transcribed
    found = await run(whisper, path)

    # Then there is no text and no language
    assert found.segments == []
    assert found.language is None
    assert found.duration == pytest.approx(40)


def test_a_window_whose_language_is_looked_for_is_encoded_once(
    whisper: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a window that was heard in its language, and something else heard since
    window, other = load(CLIPS[0])[: 20 * SAMPLE_RATE], np.zeros(SAMPLE_RATE, np.float32)
    (told,), _ = whisper.transcribe([window], "en")
    whisper.transcribe([other], "en")
    # When its language has to be found first
    encoded = 0
    encode = WhisperModel.encode

    def counted(self: WhisperModel, features: object) -> object:
        nonlocal encoded
        encoded += 1
        return encode(self, features)

    monkeypatch.setattr(WhisperModel, "encode", counted)
    (found,), language = whisper.transcribe([window], None)
    # Then that costs nothing, and changes no word
    assert (encoded, language) == (1, "en")
    assert told is not None
    assert found is not None
    assert found.text == told.text
    assert [(word.start, word.end) for word in found.words or ()] == [
        (word.start, word.end) for word in told.words or ()
    ]


def test_only_languages_of_the_model_are_known(whisper: Whisper) -> None:
    assert whisper.knows("ru")
    assert not whisper.knows("yue")  # larger models know it
    assert not whisper.knows("xx")


async def test_nothing_counts_as_done_before_its_text_is_there(whisper: Whisper) -> None:
    # Given a short recording that is all speech
    windows = WindowsInOrder(InThisProcess(whisper), Listen(path=CLIPS[1]), Transcribe(windows=[]), largest=4)
    # When its progress is told before the first text
    told = []
    async for each in windows.run():
        if isinstance(each, Transcribed) and each.segments:
            break
        if isinstance(each, StageAdvanced):
            told.append(each.processed_seconds)
    # Then no more of it is done than the silence before the first word
    assert told
    assert isinstance(each, Transcribed)
    assert max(told) <= each.segments[0].start
