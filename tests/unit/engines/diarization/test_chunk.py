from base64 import b64encode
from zlib import compress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.diarization.chunk import SIZE, VOICES, Chunk, Embedding, pack, unpack
from app.engines.diarization.excerpts import FRAMES, PER_CHUNK


def a_chunk(excerpts: int) -> Chunk:
    random = np.random.default_rng(excerpts)
    activity = random.integers(0, 256, (excerpts, FRAMES, VOICES), np.uint8)
    embeddings = [
        Embedding(excerpt, voice, 100 + voice, random.normal(size=SIZE).astype(np.float16))
        for excerpt in range(excerpts)
        for voice in range(excerpt % (VOICES + 1))
    ]
    return Chunk(5, activity, embeddings)


@pytest.mark.parametrize("excerpts", [1, 2, PER_CHUNK])
def test_a_stretch_comes_back_from_its_record(excerpts: int) -> None:
    # Given a chunk, when it is packed and unpacked
    chunk = a_chunk(excerpts)
    again = unpack(5, pack(chunk))

    # Then nothing has changed
    assert again.index == 5
    assert (again.activity == chunk.activity).all()
    assert [(p.excerpt, p.voice, p.frames) for p in again.embeddings] == [
        (p.excerpt, p.voice, p.frames) for p in chunk.embeddings
    ]
    assert all(
        (one.values == other.values).all() for one, other in zip(again.embeddings, chunk.embeddings, strict=True)
    )


@given(st.binary(max_size=50) | st.binary(max_size=50).map(compress))
def test_anything_else_is_no_record(content: bytes) -> None:
    # Given bytes that are no chunk, compressed or not, when they are unpacked, then that is a ValueError
    with pytest.raises(ValueError, match=r"."):
        unpack(0, b64encode(b"\x01" + content).decode())
    with pytest.raises(ValueError, match=r"."):
        unpack(0, b64encode(compress(b"\x01" + content)).decode())


def test_a_print_of_an_excerpt_that_is_not_there_is_no_record() -> None:
    # Given an embedding of the second excerpt of one, when it is unpacked, then that is a ValueError
    lost = Chunk(0, np.zeros((1, FRAMES, VOICES), np.uint8), [Embedding(1, 0, 9, np.zeros(SIZE, np.float16))])
    with pytest.raises(ValueError, match="chunk"):
        unpack(0, pack(lost))
