"""The cache: what engines have found in a recording, for the next task with the same recording and options."""

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
from app.redis_store import keys
from schemas.errors import ErrorCode

ANSWER_TIMEOUT_S: Final = 1.0  # a task can compute what the cache does not answer
LARGEST_BYTES: Final = 32 * 1024 * 1024  # compressed; a day of speech has about 5 MB
FORGOTTEN_FOR_S: Final = 600  # longer than a worker works on that is cut off from NATS

KEEP_UNLESS_FORGOTTEN: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""

Found = TypeVar("Found", bound=BaseModel)

log = structlog.get_logger()


def connected(url: str) -> Redis:
    """A Redis client that does not retry: a task computes what it does not get at once."""
    return Redis.from_url(
        url, socket_timeout=ANSWER_TIMEOUT_S, socket_connect_timeout=ANSWER_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


class Cache:
    """Keeps findings by the SHA-256 of the recording and by engine and options (the question).

    While Redis is away nothing is found and nothing is kept: tasks compute everything.
    """

    def __init__(self, redis: Redis, *, keep: float) -> None:
        """`keep`: seconds that findings are kept; 0: nothing is kept."""
        self._redis = redis
        self._seconds = int(keep)
        self._keep = redis.register_script(KEEP_UNLESS_FORGOTTEN)

    async def find(self, audio_sha256: str, question: str, kind: type[Found]) -> Found | None:
        """What was kept earlier, None where nothing was."""
        pieces = await self.find_pieces(audio_sha256, question)
        return await asyncio.to_thread(read, pieces[0], kind) if len(pieces) == 1 else None

    async def keep(self, audio_sha256: str, question: str, found: BaseModel) -> None:
        """Keep a finding, unless a task with this recording was deleted a moment ago."""
        await self.keep_pieces(audio_sha256, question, [found])

    async def find_pieces(self, audio_sha256: str, question: str) -> list[bytes]:
        """The pieces that were kept earlier, each as JSON; none where nothing was kept."""
        if not self._seconds:
            return []
        packed = await in_time(self._redis.hget(keys.findings(audio_sha256), question))
        return await asyncio.to_thread(_unpacked, packed) if isinstance(packed, bytes) else []

    async def keep_pieces(self, audio_sha256: str, question: str, pieces: Iterable[BaseModel]) -> None:
        """Keep a finding that is too large to be written and read at once: all of its pieces or none."""
        if not self._seconds:
            return
        lines = [(await asyncio.to_thread(piece.model_dump_json)).encode() for piece in pieces]
        packed = await asyncio.to_thread(_packed, lines)
        if len(packed) <= LARGEST_BYTES:
            names = [keys.findings(audio_sha256), keys.forgotten(audio_sha256)]
            await in_time(self._keep(keys=names, args=[question, packed, self._seconds]))

    async def forget(self, audio_sha256: str) -> None:
        """Delete all that is cached of a recording, and cache nothing more of it during FORGOTTEN_FOR_S.

        Raises:
            TransientError: Redis is away.
        """
        try:
            await self._redis.set(keys.forgotten(audio_sha256), "1", ex=FORGOTTEN_FOR_S)
            await self._redis.delete(keys.findings(audio_sha256))
        except (RedisError, OSError) as error:
            raise TransientError(
                ErrorCode.INTERNAL, "Redis is away: what was found stays there for a while."
            ) from error


async def in_time(answer: "Awaitable[object] | object") -> object:
    """The answer of Redis, None where there is none within ANSWER_TIMEOUT_S."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await cast("Awaitable[object]", answer)  # redis-py's commands are typed for both of its clients
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("cache_access_failed", error=type(error).__name__)
        return None


def read(piece: bytes, kind: type[Found]) -> Found | None:
    """A piece as the service's type, None where another version has written it."""
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
