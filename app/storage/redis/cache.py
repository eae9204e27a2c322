"""The cache: transcripts and speaker turns of recordings, for later tasks with the same recording and options."""

import asyncio
import zlib
from collections.abc import Awaitable, Iterable, Sequence
from typing import Final, TypeVar, cast

import structlog
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.storage.redis import keys
from app.storage.redis.errors import explained_errors

CACHE_TIMEOUT_S: Final = 1.0  # short, because a task can compute a result itself
MAX_COMPRESSED_BYTES: Final = 32 * 1024 * 1024  # limit of a compressed result; a day of speech takes about 5 MB

# Both scripts note the recording under the task's id, for as long as its results can stay: results that were stored
# before CACHE_TTL was shortened stay longer than ARGV[2]. A cancelled or deleted task stores and notes nothing.
NOTE: Final = """
local function note()
  redis.call('HSET', KEYS[2], ARGV[1], '')
  local left = math.max(redis.call('TTL', KEYS[1]), redis.call('TTL', KEYS[2]))
  redis.call('EXPIRE', KEYS[2], math.max(left, tonumber(ARGV[2])))
end
"""
PUT: Final = (
    NOTE
    + """
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
redis.call('HSET', KEYS[1], ARGV[3], ARGV[4])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
note()
return 1
"""
)
GET: Final = (
    NOTE
    + """
local found = redis.call('HGET', KEYS[1], ARGV[3])
if found and redis.call('EXISTS', KEYS[3]) == 0 then note() end
return found
"""
)

Result = TypeVar("Result", bound=BaseModel)

log = structlog.get_logger()


def connected(url: str) -> Redis:
    """Create a Redis client that fails within CACHE_TIMEOUT_S and does not retry.

    Its users can do without Redis: a task computes a result itself, and a client can repeat a request.
    """
    return Redis.from_url(
        url, socket_timeout=CACHE_TIMEOUT_S, socket_connect_timeout=CACHE_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


class Cache:
    """Stores transcripts and speaker turns by the SHA-256 of the recording and by a key for the engine and its options.

    For each task, Redis also stores which recordings it has used, because the erasure of a task removes all cached
    results of its recordings.

    While Redis is unavailable, the cache returns and stores nothing, and tasks compute everything.
    """

    def __init__(self, redis: Redis, *, ttl: float) -> None:
        """Create a cache; `ttl`: how many seconds a result is stored; 0: the cache stores nothing."""
        self._redis = redis
        self._seconds = int(ttl)
        self._put = redis.register_script(PUT)
        self._get = redis.register_script(GET)

    async def get(self, task_id: str, audio_sha256: str, key: str, kind: type[Result]) -> Result | None:
        """Return the result that `put` has stored for a recording and a key; None if there is none.

        None is also returned for a result that `put_pieces` has stored in several pieces. `task_id`: the task that uses
        the result; the result is deleted when this task is erased. `kind`: the class of the result.
        """
        pieces = await self.get_pieces(task_id, audio_sha256, key)
        return await asyncio.to_thread(read, pieces[0], kind) if len(pieces) == 1 else None

    async def put(self, task_id: str, audio_sha256: str, key: str, result: BaseModel) -> None:
        """Store a result of a recording in the cache, unless the task was just cancelled or deleted.

        `task_id`: the task that has computed the result; Redis marks cancelled and deleted tasks for some minutes, see
        `keys.tombstone`. `key`: identifies the engine and the options of the result.
        """
        await self.put_pieces(task_id, audio_sha256, key, [result])

    async def get_pieces(self, task_id: str, audio_sha256: str, key: str) -> list[bytes]:
        """Return the pieces of a result that `put_pieces` has stored, each as JSON; [] if no result is stored."""
        if not self._seconds:
            return []
        names = _names(task_id, audio_sha256)
        packed = await reply_or_none(self._get(keys=names, args=[audio_sha256, self._seconds, key]))
        return await asyncio.to_thread(_unpacked, packed) if isinstance(packed, bytes) else []

    async def put_pieces(self, task_id: str, audio_sha256: str, key: str, pieces: Iterable[BaseModel]) -> None:
        """Store a large result as pieces that are serialized one by one; Redis stores all pieces or none.

        Nothing is stored if the task was just cancelled or deleted (see `keys.tombstone`), or if the compressed pieces
        together exceed MAX_COMPRESSED_BYTES.
        """
        if not self._seconds:
            return
        lines = [(await asyncio.to_thread(piece.model_dump_json)).encode() for piece in pieces]
        packed = await asyncio.to_thread(_packed, lines)
        if len(packed) <= MAX_COMPRESSED_BYTES:
            names = _names(task_id, audio_sha256)
            await reply_or_none(self._put(keys=names, args=[audio_sha256, self._seconds, key, packed]))

    async def erase(self, task_id: str) -> None:
        """Delete all cached results for the recordings of a task, including results that other tasks have stored.

        Raises:
            TransientError: Redis is unavailable.
        """
        noted = keys.cached_recordings(task_id)
        with explained_errors():
            recordings = await cast("Awaitable[dict[bytes, bytes]]", self._redis.hgetall(noted))
            await self._redis.delete(*(keys.cached_results(sha256.decode()) for sha256 in recordings), noted)


async def reply_or_none(reply: "Awaitable[object] | object") -> object:
    """Wait for a reply of Redis and return it; None if Redis fails or takes longer than CACHE_TIMEOUT_S."""
    try:
        async with asyncio.timeout(CACHE_TIMEOUT_S):
            return await cast("Awaitable[object]", reply)  # redis-py's commands are typed for both of its clients
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("cache_access_failed", error=type(error).__name__)
        return None


def read(piece: bytes, kind: type[Result]) -> Result | None:
    """Parse a cached result, or a piece of one; return None if another version of the service wrote another format."""
    try:
        return kind.model_validate_json(piece)
    except ValidationError:
        return None


def _names(task_id: str, audio_sha256: str) -> list[str]:
    """Return the Redis keys that the scripts PUT and GET use.

    They are the keys of the recording's cached results, of the task's recordings, and of the mark that the task was
    cancelled or deleted.
    """
    return [keys.cached_results(audio_sha256), keys.cached_recordings(task_id), keys.tombstone(task_id)]


def _packed(lines: Sequence[bytes]) -> bytes:
    return zlib.compress(b"\n".join(lines))  # a line end separates the items: JSON escapes those inside an item


def _unpacked(packed: bytes) -> list[bytes]:
    try:
        return zlib.decompress(packed).split(b"\n")
    except zlib.error:  # written by another version of the service
        return []
