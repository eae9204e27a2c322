"""The times of real words, compared with where their speech begins and ends, in silence and in noise."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest
from natscribe.schemas.transcription import TranscribeOptions

from app.engines.audio.samples import Samples, pack, pack_speech
from app.engines.audio.timeline import Timeline
from app.engines.audio.window_audio import WindowAudio
from app.engines.audio.windows import UnpackedWindow, detect_windows
from app.engines.messages import Transcribe
from app.engines.recognition import transcribe
from app.engines.whisper.model import Whisper
from app.engines.windows import Window
from tests.document import ROOT
from tests.truth.word_times import Joined, Word, clips_of, errors, joined

pytestmark = [pytest.mark.xdist_group("transcription"), pytest.mark.timeout(600)]  # one model; slow on some processors

RECORDINGS = [ROOT / "tests/recordings/speech" / f"prompts-{language}.flac" for language in ("ru", "es", "fr", "it")]
PAUSES = (0.5, 0.3, 0.6, 0.25, 0.8, 0.4, 0.5)  # seconds
OPTIONS = TranscribeOptions()


@pytest.fixture(scope="module")
def sentences() -> Joined:
    clips = [clip for recording in RECORDINGS for clip in clips_of(recording)]
    return joined(clips, [PAUSES[number % len(PAUSES)] for number in range(len(clips))])


def windows_of(samples: Samples) -> list[UnpackedWindow]:
    return [window for detected in detect_windows([samples]) for window in detected.windows]


def as_models_say(model: Whisper, windows: Sequence[UnpackedWindow]) -> list[Word]:
    """The words with the times of the model alone."""
    words = list[Word]()
    for window in windows:
        timeline = Timeline(window.regions)
        (output,) = model.transcribe([WindowAudio(window.samples, timeline.speech)], OPTIONS, [None])
        times = [timeline.word(word) for text in output.texts for word in text.words]
        words += [(word.start, word.end, word.word) for word in times]
    return words


def as_published(model: Whisper, windows: Sequence[UnpackedWindow]) -> list[Word]:
    packed = [
        Window(regions=list(window.regions), samples=pack(window.samples), speech=pack_speech(window.speech))
        for window in windows
    ]
    texts = transcribe(model, Transcribe(windows=packed, options=OPTIONS, previous=[None] * len(packed))).texts
    segments = sorted((segment for text in texts for segment in text.segments), key=lambda segment: segment.start)
    assert all(
        (segment.start, segment.end) == (segment.words[0].start, segment.words[-1].end)
        for segment in segments
        if segment.words
    )
    return [(word.start, word.end, word.word) for segment in segments for word in segment.words or ()]


def mean_error(said: Sequence[Word], words: Sequence[Word]) -> float:
    found = errors(said, words)
    assert len(found) > len(said)  # most of the words, which have two edges each, were recognized
    return fmean(map(abs, found))


@pytest.mark.parametrize(("decibels", "better"), [(None, 2.5), (10, 1.5)])
def test_words_are_where_they_are_spoken(
    whisper: Whisper, sentences: Joined, decibels: float | None, better: float
) -> None:
    # Given sentences of real announcers, with pauses between them, perhaps in noise
    samples = sentences.samples.astype(np.float32) / np.float32(32768)
    if decibels is not None:
        strength = np.sqrt((samples[samples != 0] ** 2).mean()) * 10 ** (-decibels / 20)
        noise = np.random.default_rng(3).normal(scale=strength, size=len(samples))
        samples = samples + noise.astype(np.float32)
    windows = windows_of(samples)

    # When they are transcribed
    published = mean_error(sentences.said, as_published(whisper, windows))

    # Then their words are where they are spoken, and far better placed than by the model alone
    assert published < 0.1
    assert published * better < mean_error(sentences.said, as_models_say(whisper, windows))
