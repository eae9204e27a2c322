"""Stores the diarized chunks of a recording, about a minute each, so that a lost worker costs one chunk at most."""

from typing import Final

from natscribe.jetstream.streams import DAY_S
from redis.asyncio import Redis

from app.engines.messages import ChunkAnalysed
from app.storage.redis import keys
from app.storage.redis.cache import read, reply_or_none

CHUNKS_TTL_S: Final = int(DAY_S)  # from the last chunk of a task; an attempt after that analyses the recording again

STORE_UNLESS_TOMBSTONE: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""


class ChunkStore:
    """Stores the analyses of chunks (about a minute of a recording each) in Redis until the task ends.

    The next attempt at the task need not diarize these chunks again. While Redis is unavailable, nothing is stored.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._store = redis.register_script(STORE_UNLESS_TOMBSTONE)

    async def load(self, task_id: str, audio: str) -> list[ChunkAnalysed]:
        """Return the analysed chunks of `audio` that earlier attempts at a task have stored.

        A chunk is about a minute of a recording. Return [] if Redis is unavailable. `audio`: the SHA-256 of the
        recording, with the channel if one channel is analysed alone.
        """
        fields = await reply_or_none(self._redis.hgetall(keys.chunks(task_id)))
        lines = fields.items() if isinstance(fields, dict) else ()
        of_audio = (read(line, ChunkAnalysed) for name, line in lines if name.startswith(f"{audio} ".encode()))
        return [chunk for chunk in of_audio if chunk is not None]

    async def save(self, task_id: str, audio: str, chunk: ChunkAnalysed) -> None:
        """Store the analysis of a chunk for the next attempt at the task, unless the task was cancelled or deleted.

        The key `keys.tombstone` marks cancelled and deleted tasks for some minutes. If Redis is unavailable, nothing is
        stored. `audio`: the SHA-256 of the recording, with the channel if one channel is analysed alone.
        """
        names = [keys.chunks(task_id), keys.tombstone(task_id)]
        name = f"{audio} {chunk.index}"
        await reply_or_none(self._store(keys=names, args=[name, chunk.model_dump_json(), CHUNKS_TTL_S]))
