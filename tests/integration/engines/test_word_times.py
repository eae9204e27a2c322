"""The times of real words, compared with where their speech begins and ends: in all kinds of audio, and in noise."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt
import pytest
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.transcription import Segment, TranscribeOptions
from natscribe.schemas.wire import Model

from app.engines.audio.live_streams import LiveStreams
from app.engines.audio.samples import Samples, unpack
from app.engines.audio.timeline import Timeline
from app.engines.audio.window_audio import WindowAudio
from app.engines.audio.window_search import find_windows
from app.engines.diarization.telephone import simulate_telephone
from app.engines.messages import FindWindows, ProcessLiveAudio, Transcribe, WindowFound
from app.engines.recognition import transcribe
from app.engines.whisper.model import Whisper
from app.engines.windows import Window, WindowRequest
from tests.audio import NO_LIMIT
from tests.document import ROOT
from tests.truth.recordings import write
from tests.truth.word_times import Joined, Word, clips_of, errors, joined

pytestmark = [pytest.mark.xdist_group("transcription"), pytest.mark.timeout(600)]  # one model; slow on some processors

RECORDINGS = [ROOT / "tests/recordings/speech" / f"prompts-{language}.flac" for language in ("ru", "es", "fr", "it")]
PAUSES = (0.5, 0.3, 0.6, 0.25, 0.8, 0.4, 0.5)  # seconds
OPTIONS = TranscribeOptions()


@pytest.fixture(scope="module")
def sentences() -> Joined:
    clips = [clip for recording in RECORDINGS for clip in clips_of(recording)]
    return joined(clips, [PAUSES[number % len(PAUSES)] for number in range(len(clips))])


@pytest.fixture(scope="module")
def samples(sentences: Joined) -> Samples:
    return sentences.samples.astype(np.float32) / np.float32(32768)


def in_noise(samples: Samples) -> Samples:
    """The samples with noise 10 dB below the speech."""
    strength = np.sqrt((samples[samples != 0] ** 2).mean()) * 10 ** (-10 / 20)
    return samples + np.random.default_rng(3).normal(scale=strength, size=len(samples)).astype(np.float32)


def as_16_bits(samples: Samples) -> npt.NDArray[np.int16]:
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def of_a_recording(samples: Samples, path: Path) -> list[Window]:
    write(path, [as_16_bits(samples)])
    return [found.window for found in find_windows(FindWindows(path=path), NO_LIMIT) if isinstance(found, WindowFound)]


def of_a_channel(samples: Samples, path: Path) -> list[Window]:
    """The windows of the right channel; in the left one another person speaks."""
    write(path, [np.stack([as_16_bits(np.roll(samples, len(samples) // 2)), as_16_bits(samples)], axis=1)])
    found = find_windows(FindWindows(path=path, channel=1), NO_LIMIT)
    return [reply.window for reply in found if isinstance(reply, WindowFound)]


def of_another_worker(samples: Samples, path: Path) -> list[Window]:
    """The windows as an idle worker reads them."""
    requests = [
        WindowRequest(window=window, model=Model(name="base", revision="0")).model_dump_json()
        for window in of_a_recording(samples, path)
    ]
    return [WindowRequest.model_validate_json(request).window for request in requests]


def of_live_audio(samples: Samples, _path: Path) -> list[Window]:
    data = b64encode(as_16_bits(samples).astype("<i2").tobytes()).decode()
    job = ProcessLiveAudio(stream="live", audio=LiveAudio(), first=True, data=data, end=True)
    return LiveStreams(NO_LIMIT).run(job).windows


def as_models_say(model: Whisper, windows: Sequence[Window]) -> list[Word]:
    """The words with the times of the model alone; of an utterance with context, those of the utterance."""
    words = list[Word]()
    for window in windows:
        timeline = Timeline(window.regions)
        (output,) = model.transcribe([WindowAudio(unpack(window.samples), timeline.speech)], OPTIONS, [None])
        times = [timeline.word(word) for text in output.texts for word in text.words]
        words += [(word.start, word.end, word.word) for word in times if word.start >= window.start]
    return words


def published(model: Whisper, windows: Sequence[Window]) -> list[Segment]:
    texts = transcribe(model, Transcribe(windows=list(windows), options=OPTIONS, previous=[None] * len(windows))).texts
    return sorted((segment for text in texts for segment in text.segments), key=lambda segment: segment.start)


def words_of(segments: Sequence[Segment]) -> list[Word]:
    return [(word.start, word.end, word.word) for segment in segments for word in segment.words or ()]


def mean_error(said: Sequence[Word], words: Sequence[Word]) -> float:
    found = errors(said, words)
    assert len(found) > len(said)  # most of the words, which have two edges each, were recognized
    return fmean(map(abs, found))


@pytest.mark.parametrize(
    ("windows_of", "changed", "better"),
    [
        (of_a_recording, np.array, 2.5),
        (of_a_recording, in_noise, 1.5),
        (of_a_recording, simulate_telephone, 1.5),
        (of_a_channel, np.array, 2.5),
        (of_another_worker, np.array, 2.5),
        (of_live_audio, np.array, 2.0),
    ],
)
def test_words_are_where_they_are_spoken(
    whisper: Whisper,
    sentences: Joined,
    samples: Samples,
    tmp_path: Path,
    windows_of: Callable[[Samples, Path], list[Window]],
    changed: Callable[[Samples], Samples],
    better: float,
) -> None:
    # Given sentences of real announcers, with pauses between them, perhaps in noise or on a telephone
    windows = windows_of(changed(samples), tmp_path / "sentences.wav")

    # When they are transcribed
    segments = published(whisper, windows)

    # Then their words are where they are spoken, and far better placed than by the model alone
    error = mean_error(sentences.said, words_of(segments))
    assert error < 0.1
    assert error * better < mean_error(sentences.said, as_models_say(whisper, windows))
    # And segments begin and end with their words
    edges = [(segment.start, segment.end) for segment in segments]
    assert edges == [(words[0].start, words[-1].end) for words in (segment.words or [] for segment in segments)]


def test_words_of_connected_speech_touch_and_keep_their_order(
    whisper: Whisper, samples: Samples, tmp_path: Path
) -> None:
    # Given sentences without pauses between their words, when they are transcribed
    segments = published(whisper, of_a_recording(samples, tmp_path / "sentences.wav"))

    # Then no word overlaps the next one, and most touch it
    pauses = [after.start - before.end for segment in segments for before, after in pairwise(segment.words or ())]
    assert min(pauses) >= 0
    assert np.mean(np.array(pauses) == 0) > 0.5
