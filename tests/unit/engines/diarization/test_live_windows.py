"""Into which windows the speech of a live stream is cut for its speakers."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.windows import FRAME, UnpackedWindow
from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE
from app.engines.diarization.clustering import Floats
from app.engines.diarization.live_windows import WindowEmbedder
from app.engines.diarization.networks import Networks

WINDOW, STEP, PADDING = 24_000, 12_000, 480  # samples


class FakeNetworks:
    """Counts the embeddings that it computes."""

    def __init__(self) -> None:
        self.computed = 0

    def embed(self, _: Floats) -> Floats:
        self.computed += 1
        return np.ones(EMBEDDING_SIZE, np.float32)


@pytest.fixture
def networks() -> FakeNetworks:
    return FakeNetworks()


def embedder(networks: FakeNetworks, *, telephone: bool = False) -> WindowEmbedder:
    return WindowEmbedder(cast("Networks", networks), telephone=telephone)


def utterance(*frames: int, start: float = 0.0) -> UnpackedWindow:
    """So many frames of speech, of silence, of speech, and so on; speech is as improbable as speech may be."""
    probabilities = [0.0 if number % 2 else 0.2 for number, count in enumerate(frames) for _ in range(count)]
    samples = np.random.default_rng(7).normal(size=FRAME * len(probabilities)).astype(np.float32)
    end = start + len(samples) / SAMPLE_RATE
    return UnpackedWindow([(start, end)], samples, np.array(probabilities, np.float32))


def spans(embedder: WindowEmbedder, speech: UnpackedWindow, *, is_open: bool = False) -> Sequence[tuple[int, int]]:
    return [(window.start, window.end) for window in embedder.windows(speech, is_open=is_open)]


def test_long_speech_has_windows_that_overlap_and_one_at_its_end(networks: FakeNetworks) -> None:
    # Given 3.2 s of speech that begin at second 2
    speech, first = utterance(100, start=2.0), 2 * SAMPLE_RATE
    # Then a window begins every 0.75 s, and the last one ends with the speech
    expected = [*((at, at + WINDOW) for at in (0, STEP, 2 * STEP)), (100 * FRAME - WINDOW, 100 * FRAME)]
    assert spans(embedder(networks), speech) == [(first + start, first + end) for start, end in expected]


def test_pauses_separate_windows_and_short_speech_has_none(networks: FakeNetworks) -> None:
    # Given speech of six frames, of five, and of eight with a short pause, with pauses of three frames between them
    speech = utterance(0, 10, 6, 3, 5, 3, 4, 2, 4, 10)
    # Then the first and the last have a window, with some audio around them
    runs = ((10, 16), (27, 37))
    assert spans(embedder(networks), speech) == [
        (start * FRAME - PADDING, end * FRAME + PADDING) for start, end in runs
    ]


def test_an_open_utterance_has_the_windows_that_no_later_audio_changes(networks: FakeNetworks) -> None:
    # Given speech that may continue, so that its last window is not known
    windows = embedder(networks)
    assert spans(windows, utterance(60), is_open=True) == [(0, WINDOW)]
    assert spans(windows, utterance(60, 3), is_open=True) == [(0, WINDOW)]
    # When a pause follows, then its last window is known
    end = 60 * FRAME + PADDING
    assert spans(windows, utterance(60, 4), is_open=True) == [(0, WINDOW), (end - WINDOW, end)]
    # And when it is complete, then each window was computed once
    assert spans(windows, utterance(60, 5)) == [(0, WINDOW), (end - WINDOW, end)]
    assert networks.computed == 2
    # And the next utterance has windows of its own
    assert spans(windows, utterance(60, 5)) == [(0, WINDOW), (end - WINDOW, end)]
    assert networks.computed == 4


@pytest.mark.parametrize("telephone", [False, True])
def test_windows_that_do_not_overlap_have_an_embedding_of_telephone_audio(
    networks: FakeNetworks, telephone: bool
) -> None:
    windows = embedder(networks, telephone=telephone).windows(utterance(120), is_open=False)
    assert all(window.values.any() for window in windows)
    with_second = [window.start for window in windows if window.telephone.any()]
    assert with_second == ([0, WINDOW] if telephone else [])
