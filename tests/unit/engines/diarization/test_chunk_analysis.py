from base64 import b64encode
from zlib import compress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.diarization.chunk_analysis import (
    EMBEDDING_SIZE,
    LOCAL_SPEAKERS,
    ChunkAnalysis,
    Embedding,
    LocalSpeaker,
    is_active,
    pack,
    quantized,
    unpack,
)
from app.engines.diarization.regions import MIN_EMBEDDING_FRAMES
from app.engines.diarization.windows import STEP_FRAMES, WINDOW_FRAMES, WINDOWS_PER_CHUNK


def a_chunk(windows: int) -> ChunkAnalysis:
    """A chunk with as many embeddings as it may have, the last of which ends with its last frame."""
    random = np.random.default_rng(windows)
    values = quantized(random.normal(size=EMBEDDING_SIZE).astype(np.float32))
    activity = random.integers(0, 256, (windows, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)
    last = (windows - 1) * STEP_FRAMES + WINDOW_FRAMES
    ends = range(last, MIN_EMBEDDING_FRAMES - 1, -MIN_EMBEDDING_FRAMES)
    embeddings = [Embedding(end - MIN_EMBEDDING_FRAMES, end, values, end % 2 == 0) for end in reversed(ends)]
    voices = [LocalSpeaker(window, voice, -values) for window in range(windows) for voice in range(LOCAL_SPEAKERS)]
    return ChunkAnalysis(5, activity, embeddings, voices)


@pytest.mark.parametrize("windows", [1, 2, WINDOWS_PER_CHUNK])
def test_a_chunk_comes_back_from_its_record(windows: int) -> None:
    # Given a chunk, when it is packed and unpacked
    chunk = a_chunk(windows)
    again = unpack(5, pack(chunk))

    # Then nothing has changed
    assert again.index == 5
    assert (again.activity == chunk.activity).all()
    assert [(embedding.start, embedding.end, embedding.from_telephone) for embedding in again.embeddings] == [
        (e.start, e.end, e.from_telephone) for e in chunk.embeddings
    ]
    assert [(a.window, a.number) for a in again.overlapped] == [(b.window, b.number) for b in chunk.overlapped]
    assert all((a.values == b.values).all() for a, b in zip(again.embeddings, chunk.embeddings, strict=True))
    assert all((a.values == b.values).all() for a, b in zip(again.overlapped, chunk.overlapped, strict=True))
    # And a local speaker speaks where that is more probable than not
    assert (is_active(again.activity) == (chunk.activity > 255 / 2)).all()


@given(st.binary(max_size=50) | st.binary(max_size=50).map(compress))
def test_anything_else_is_no_record(content: bytes) -> None:
    # Given bytes that are no chunk, compressed or not, when they are unpacked, then that is a ValueError
    with pytest.raises(ValueError, match=r"."):
        unpack(0, b64encode(b"\x01" + content).decode())
    with pytest.raises(ValueError, match=r"."):
        unpack(0, b64encode(compress(b"\x01" + content)).decode())


NOWHERE = np.zeros(EMBEDDING_SIZE, np.int8)
EMPTY = np.zeros((1, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8)


@pytest.mark.parametrize(
    "impossible",
    [
        ChunkAnalysis(0, EMPTY, [], [LocalSpeaker(1, 0, NOWHERE)]),
        ChunkAnalysis(0, EMPTY, [], [LocalSpeaker(0, LOCAL_SPEAKERS, NOWHERE)]),
        ChunkAnalysis(0, EMPTY, [Embedding(9, 9, NOWHERE)], []),
        ChunkAnalysis(0, EMPTY, [Embedding(9, 150, NOWHERE)], []),
        ChunkAnalysis(0, EMPTY, [Embedding(3_900, 3_920, NOWHERE)], []),
        ChunkAnalysis(0, EMPTY, [Embedding(90, 120, NOWHERE), Embedding(90, 120, NOWHERE)], []),
        ChunkAnalysis(0, EMPTY, [Embedding(90, 120, NOWHERE), Embedding(9, 40, NOWHERE)], []),
        ChunkAnalysis(0, np.zeros((0, WINDOW_FRAMES, LOCAL_SPEAKERS), np.uint8), [], []),
    ],
)
def test_an_embedding_of_nothing_that_is_there_is_no_record(impossible: ChunkAnalysis) -> None:
    # Given a local speaker of a window that does not exist, or an embedding of nothing, when unpacked, then it fails
    with pytest.raises(ValueError, match="chunk"):
        unpack(0, pack(impossible))


def test_an_embedding_is_stored_without_a_loss_that_matters() -> None:
    # Given two embeddings, when they are stored as whole numbers, then they are as similar as before
    one, other = np.random.default_rng(3).normal(size=(2, EMBEDDING_SIZE)).astype(np.float32)

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    both = (quantized(values).astype(np.float32) for values in (one, one + other))
    assert cosine(*both) == pytest.approx(cosine(one, one + other), abs=1e-3)
    assert not quantized(np.zeros(EMBEDDING_SIZE, np.float32)).any()
