from collections.abc import Iterator

import numpy as np
import pytest

from app.engines.audio.samples import Samples
from app.engines.diarization.windows import (
    STEP_FRAMES,
    STEP_SAMPLES,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    WINDOWS_PER_CHUNK,
    ChunkAudio,
    chunks,
)

MINUTE = WINDOWS_PER_CHUNK * STEP_SAMPLES


def ramp(samples: int) -> np.ndarray:
    return np.arange(samples, dtype=np.float32)


def starts_of(cut: list[ChunkAudio]) -> list[float]:
    """The first sample of each window, which in a ramp is its number."""
    return [float(chunk.window(number)[0]) for chunk in cut for number in range(chunk.windows)]


@pytest.mark.parametrize(
    "length",
    [
        1,
        WINDOW_SAMPLES,
        WINDOW_SAMPLES + 1,
        MINUTE,
        MINUTE + WINDOW_SAMPLES - STEP_SAMPLES,
        MINUTE + WINDOW_SAMPLES,
        3 * MINUTE,
    ],
)
def test_every_sample_is_in_a_window_and_none_is_empty(length: int) -> None:
    # Given a recording of any length, when it is cut
    cut = list(chunks([ramp(length)]))

    # Then windows begin at even distances, the last reaches the end, and the one before it does not
    starts = starts_of(cut)
    assert starts == [number * STEP_SAMPLES for number in range(len(starts))]
    assert cut[-1].window(cut[-1].windows - 1)[-1] == length - 1
    assert all(start + WINDOW_SAMPLES < length for start in starts[:-1])
    assert [chunk.index for chunk in cut] == list(range(len(cut)))
    # And each chunk says how many frames begin in it, and the last one how many it has
    *whole, last = [chunk.frames for chunk in cut]
    assert whole == [WINDOWS_PER_CHUNK * STEP_FRAMES] * len(whole)
    assert last == (cut[-1].windows - 1) * STEP_FRAMES + WINDOW_FRAMES


def test_how_a_recording_is_decoded_changes_nothing() -> None:
    # Given a recording of two minutes and a bit, in one piece and in many
    whole = ramp(2 * MINUTE + 12_345)
    random = np.random.default_rng(3)
    cuts = np.sort(random.integers(0, len(whole), 500))

    # When it is cut, then the windows are the same
    once, often = list(chunks([whole])), list(chunks(np.split(whole, cuts)))
    assert [chunk.windows for chunk in once] == [chunk.windows for chunk in often]
    assert all((one.samples == other.samples).all() for one, other in zip(once, often, strict=True))


def test_a_chunk_comes_as_soon_as_it_can_and_no_more_is_held() -> None:
    # Given a recording of ten minutes that comes second by second
    given = 0

    def pieces() -> Iterator[Samples]:
        nonlocal given
        for _ in range(600):
            given += 16_000
            yield np.zeros(16_000, np.float32)

    # When it is cut, then each chunk comes before another one would fit into what was given
    for chunk in chunks(pieces()):
        assert len(chunk.samples) <= MINUTE - STEP_SAMPLES + WINDOW_SAMPLES
        assert given - chunk.index * MINUTE <= MINUTE - STEP_SAMPLES + WINDOW_SAMPLES + 16_000


def test_of_nothing_there_is_one_empty_window() -> None:
    assert [(chunk.windows, len(chunk.samples)) for chunk in chunks([])] == [(1, 0)]
