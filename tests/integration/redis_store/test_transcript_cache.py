"""A transcript in the cache: in chunks, because a day of it at once would block the event loop."""

import json
import zlib

import pytest
from natscribe.schemas.transcription import Interval, TranscriptionTask
from redis.asyncio import Redis

from app.engines.messages import Loaded
from app.engines.windows import WindowText
from app.speech.recordings.cache import CachedTranscript, TranscriptCache
from app.speech.window_pipeline import MAX_SEGMENTS_PER_TEXT, append_or_merge
from app.storage.redis import keys
from app.storage.redis.cache import Cache
from tests.fakes.engine import MODEL, segment

AUDIO = "a" * 64
LOADED = Loaded(model=MODEL, fingerprint="cpu int8")
TASK = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7, word_timestamps=True)


@pytest.fixture
def transcripts(binary_redis: Redis) -> TranscriptCache:
    return TranscriptCache(Cache(binary_redis, ttl=3600))


def transcript(segments: int) -> CachedTranscript:
    cached = CachedTranscript(duration=10.0 * segments, channels=1)
    for number in range(segments):
        missing = [Interval(start=10.0 * number + 9, end=10.0 * number + 10)]
        append_or_merge(
            cached.texts, WindowText(segments=[segment(number)], untranscribed=missing, end=10.0 * number + 10)
        )
    return cached


@pytest.mark.parametrize("segments", [0, 1, MAX_SEGMENTS_PER_TEXT, 1001])
async def test_a_transcript_is_kept_in_pieces_that_hold_nothing_up(
    transcripts: TranscriptCache, binary_redis: Redis, segments: int
) -> None:
    # Given a cached transcript
    cached = transcript(segments)
    await transcripts.store(AUDIO, TASK, LOADED, cached)
    # Then no piece of it, which is read at once, is large
    (packed,) = await binary_redis.hvals(keys.cached_results(AUDIO))
    assert isinstance(packed, bytes)
    pieces = [json.loads(line).get("segments", []) for line in zlib.decompress(packed).splitlines()]
    assert max(map(len, pieces)) <= 200
    # And together they are the cached transcript
    assert await transcripts.find(AUDIO, TASK, LOADED, None) == cached


async def test_transcripts_of_another_engine_are_ignored(transcripts: TranscriptCache) -> None:
    await transcripts.store(AUDIO, TASK, LOADED, transcript(1))
    assert await transcripts.find(AUDIO, TASK, Loaded(model=MODEL, fingerprint="cuda float16"), None) is None
