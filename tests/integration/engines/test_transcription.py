"""The bundled model on real speech."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio
from natscribe.schemas.transcription import Segment, TranscribeOptions
from natscribe.schemas.windows import WindowText

from app.engines.audio.window_search import find_windows
from app.engines.messages import FindWindows, Job, Loaded, Reply, Transcribe
from app.engines.transcription import transcribe
from app.engines.whisper.model import Whisper
from app.engines.window_queue import WindowQueue
from app.speech.recording_windows import RecordingWindows
from app.speech.transcription_run import TranscriptionRun
from tests.sounds import CLIPS, NO_LIMIT, load, silence, write
from tests.truth.recordings import words_of
from tests.truth.words import word_error_rate

pytestmark = pytest.mark.xdist_group("transcription")  # one model and one uninterrupted run

MAX_WORD_ERROR_RATE = 0.08


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


async def transcript(whisper: Whisper, path: Path, *, start_at: float = 0.0, previous: str | None = None) -> Transcript:
    engine = InThisProcess(whisper)
    source = RecordingWindows(engine, FindWindows(path=path, start_at=start_at))
    queue = WindowQueue(engine, at_once=1, largest=4)
    run = TranscriptionRun(source.windows(), queue, None, TranscribeOptions(), previous)
    texts = [text async for text in run.texts() if isinstance(text, WindowText)]
    return Transcript(texts, run.language, source.duration)


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
    expected = " ".join(map(words_of, CLIPS))

    # Then the text is right, the language is found, and the times are in order
    found = uninterrupted.segments
    assert word_error_rate(expected, " ".join(segment.text for segment in found)) < MAX_WORD_ERROR_RATE
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
