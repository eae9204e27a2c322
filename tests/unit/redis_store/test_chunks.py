"""Which analysed chunks of a recording another attempt finds again."""

from typing import cast

import pytest
from redis.asyncio import Redis

from app.engines.messages import ChunkAnalysed
from app.storage.redis.chunks import ChunkStore
from app.storage.redis.keys import chunks


class FakeRedis:
    """Has these chunks of one task."""

    def __init__(self, stored: object) -> None:
        self._stored = stored

    def register_script(self, _: str) -> None:
        return None

    async def hgetall(self, name: str) -> object:
        assert name == chunks("t1")
        return self._stored


def chunk(index: int) -> ChunkAnalysed:
    return ChunkAnalysed(index=index, revision="1", record="x")


@pytest.mark.parametrize("is_there", [True, False])
async def test_the_chunks_of_the_same_audio_are_loaded(is_there: bool) -> None:
    # Given chunks of two recordings and of a channel, and one that another version has written
    lines = {b"abc 0": chunk(0), b"abcd 1": chunk(1), b"abc:1 2": chunk(2)}
    stored = {name: line.model_dump_json().encode() for name, line in lines.items()} | {b"abc 3": b"{}"}
    # When those of one recording are read, then they are found if Redis replies
    loaded = await ChunkStore(cast("Redis", FakeRedis(stored if is_there else None))).load("t1", "abc")
    assert loaded == ([chunk(0)] if is_there else [])
