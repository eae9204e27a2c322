"""The cache: what engines found in a recording, kept for the next task that asks the same of it."""

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

from app.errors import TransientError
from app.redis_store import redis_keys
from schemas.errors import ErrorCode

ANSWER_TIMEOUT_S: Final = 1.0  # a task does not wait longer for what it can compute
LARGEST_BYTES: Final = 32 * 1024 * 1024  # bytes, compressed; a day of speech has about 5 MB
FORGOTTEN_FOR_S: Final = 600  # longer than a worker that is cut off from NATS goes on

KEEP_UNLESS_FORGOTTEN: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""

Found = TypeVar("Found", bound=BaseModel)

log = structlog.get_logger()


def connected(url: str) -> Redis:
    """A client that does not try again: what a task can compute it does not wait for."""
    return Redis.from_url(
        url, socket_timeout=ANSWER_TIMEOUT_S, socket_connect_timeout=ANSWER_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


class Cache:
    """Finds and keeps by the recording's SHA-256 and by what was asked of which engine, for `keep` seconds (0: never).

    Without Redis nothing is found and nothing kept: the task computes.
    """

    def __init__(self, redis: Redis, *, keep: float) -> None:
        self._redis = redis
        self._seconds = int(keep)
        self._keep = redis.register_script(KEEP_UNLESS_FORGOTTEN)

    async def find(self, audio_sha256: str, question: str, kind: type[Found]) -> Found | None:
        """What was found earlier, None where nothing was."""
        pieces = await self.find_pieces(audio_sha256, question)
        return await asyncio.to_thread(read, pieces[0], kind) if len(pieces) == 1 else None

    async def keep(self, audio_sha256: str, question: str, found: BaseModel) -> None:
        """Keep what was found, unless a task with this recording was deleted a moment ago."""
        await self.keep_pieces(audio_sha256, question, [found])

    async def find_pieces(self, audio_sha256: str, question: str) -> list[bytes]:
        """The pieces that were kept earlier, to be read one by one; none where nothing was."""
        if not self._seconds:
            return []
        packed = await in_time(self._redis.hget(redis_keys.findings(audio_sha256), question))
        return await asyncio.to_thread(_unpacked, packed) if isinstance(packed, bytes) else []

    async def keep_pieces(self, audio_sha256: str, question: str, pieces: Iterable[BaseModel]) -> None:
        """Keep what is too much to be written and read at once: all of its pieces or none."""
        if not self._seconds:
            return
        lines = [(await asyncio.to_thread(piece.model_dump_json)).encode() for piece in pieces]
        packed = await asyncio.to_thread(_packed, lines)
        if len(packed) <= LARGEST_BYTES:
            keys = [redis_keys.findings(audio_sha256), redis_keys.forgotten(audio_sha256)]
            await in_time(self._keep(keys=keys, args=[question, packed, self._seconds]))

    async def forget(self, audio_sha256: str) -> None:
        """Forget all that was found in a recording (TransientError)."""
        try:
            await self._redis.set(redis_keys.forgotten(audio_sha256), "1", ex=FORGOTTEN_FOR_S)
            await self._redis.delete(redis_keys.findings(audio_sha256))
        except (RedisError, OSError) as error:
            raise TransientError(
                ErrorCode.INTERNAL, "Redis is away: what was found stays there for a while."
            ) from error


async def in_time(answer: "Awaitable[object] | object") -> object:
    """The answer, None where Redis gives none soon."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await cast("Awaitable[object]", answer)  # redis-py's commands are typed for both of its clients
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("cache_unreachable", error=type(error).__name__)
        return None


def read(piece: bytes, kind: type[Found]) -> Found | None:
    """What a piece says, None where another version has written it."""
    try:
        return kind.model_validate_json(piece)
    except ValidationError:
        return None


def _packed(lines: Sequence[bytes]) -> bytes:
    return zlib.compress(b"\n".join(lines))  # JSON on one line has none inside


def _unpacked(packed: bytes) -> list[bytes]:
    try:
        return zlib.decompress(packed).split(b"\n")
    except zlib.error:  # of another version
        return []
