"""The bundled model on real speech."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jiwer
import numpy as np
import pytest
import pytest_asyncio
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import Segment, TranscribeOptions
from natscribe.schemas.windows import WindowText

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.window_audio import WindowAudio
from app.engines.audio.window_search import find_windows
from app.engines.messages import FindWindows, Job, Loaded, Reply, StageAdvanced, Transcribe
from app.engines.transcription import transcribe
from app.engines.whisper.model import Whisper
from app.engines.whisper.network import Encoded, Network
from app.engines.window_queue import WindowQueue
from app.errors import PermanentError
from app.speech.recording_windows import RecordingWindows
from app.speech.transcription_run import TranscriptionRun
from tests.sounds import CLIPS, NO_LIMIT, load, silence, write

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
            case FindWindows():
                for reply in find_windows(job, NO_LIMIT):
                    yield reply
            case Transcribe():
                yield await asyncio.to_thread(transcribe, self.whisper, job)


@dataclass(frozen=True)
class Transcript:
    """What a whole run found."""

    texts: list[WindowText]
    language: str | None
    duration: float

    @property
    def segments(self) -> list[Segment]:
        return [segment for text in self.texts for segment in text.segments]


def run_over(
    whisper: Whisper, listen: FindWindows, previous: str | None = None
) -> tuple[RecordingWindows, TranscriptionRun]:
    engine = InThisProcess(whisper)
    source, queue = RecordingWindows(engine, listen), WindowQueue(engine, at_once=1, largest=4)
    return source, TranscriptionRun(source.windows(), queue, None, TranscribeOptions(), previous)


async def transcript(whisper: Whisper, path: Path, *, start_at: float = 0.0, previous: str | None = None) -> Transcript:
    source, run = run_over(whisper, FindWindows(path=path, start_at=start_at), previous)
    texts = [each async for each in run.texts() if isinstance(each, WindowText)]
    return Transcript(texts, run.language, source.duration)


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z ]", "", text.lower().replace("-", " ").replace("mr.", "mister")).split())


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips, with pauses, so that there is more than one window."""
    pieces = [piece for clip in CLIPS for piece in (load(clip), silence(2.5))]
    return write(tmp_path_factory.mktemp("reading") / "reading.flac", np.concatenate(pieces), "flac")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uninterrupted(whisper: Whisper, reading: Path) -> Transcript:
    return await transcript(whisper, reading)


def test_a_reading_is_written_down(uninterrupted: Transcript) -> None:
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
    whisper: Whisper, reading: Path, uninterrupted: Transcript
) -> None:
    # Given an uninterrupted run
    first, *others = uninterrupted.texts
    assert others

    # When another run goes on after its first text, from what is known on the wire
    again = (await transcript(whisper, reading, start_at=round(first.end, 3), previous="en")).segments

    # Then text and times are the same
    rest = [segment for text in others for segment in text.segments]
    assert [segment.text for segment in again] == [segment.text for segment in rest]
    assert [segment.start for segment in again] == pytest.approx([segment.start for segment in rest], abs=0.05)


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
    found = await transcript(whisper, path)

    # Then there is no text and no language
    assert found.segments == []
    assert found.language is None
    assert found.duration == pytest.approx(40)


def test_a_window_whose_language_is_looked_for_is_encoded_once(
    whisper: Whisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a window of one piece that was transcribed in its language
    sound = load(CLIPS[0])[: 20 * SAMPLE_RATE]
    window = WindowAudio(sound, [(0.0, len(sound) / SAMPLE_RATE)])
    (known,) = whisper.transcribe([window], TranscribeOptions(language="en"), [None])
    # When its language has to be found first
    encoded: list[WindowAudio] = []
    encode = Network.encode

    def counted(self: Network, clips: Sequence[WindowAudio]) -> list[Encoded]:
        encoded.extend(clips)
        return encode(self, clips)

    monkeypatch.setattr(Network, "encode", counted)
    (answer,) = whisper.transcribe([window], TranscribeOptions(), [None])
    # Then that costs nothing, and changes no word
    assert (len(encoded), answer.language) == (1, "en")
    assert answer.texts == known.texts


def test_only_languages_of_the_model_are_known(whisper: Whisper) -> None:
    # Given a model, when a language is named that it knows, then it may be asked
    whisper.check(TranscribeOptions(language="ru", translate=True))
    # And one that only larger models know, or nobody, is refused by its name
    for language in ("yue", "xx"):
        with pytest.raises(PermanentError, match=language) as caught:
            whisper.check(TranscribeOptions(language=language))
        assert caught.value.detail.code is ErrorCode.INVALID_MESSAGE


async def test_nothing_counts_as_done_before_its_text_is_there(whisper: Whisper) -> None:
    # Given a short recording that is all speech
    _, run = run_over(whisper, FindWindows(path=CLIPS[1]))
    # When its progress comes before the first text
    processed = []
    async with aclosing(run.texts()) as texts:
        async for each in texts:
            if isinstance(each, WindowText) and each.segments:
                break
            if isinstance(each, StageAdvanced):
                processed.append(each.processed_seconds)
    # Then no more of it is done than the silence before the first word
    assert processed
    assert isinstance(each, WindowText)
    assert max(processed) <= each.segments[0].start
