"""The cache of findings: what engines found in a recording, for later tasks with the same recording and options."""

import asyncio
import zlib
from collections.abc import Awaitable, Iterable, Sequence
from typing import Final, TypeVar, cast

import structlog
from natscribe.schemas.errors import ErrorCode
from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from app.errors import TransientError
from app.redis_store import keys

ANSWER_TIMEOUT_S: Final = 1.0  # short, because a task can compute a finding itself
LARGEST_BYTES: Final = 32 * 1024 * 1024  # limit of a compressed finding; a day of speech takes about 5 MB
FORGOTTEN_FOR_S: Final = 600  # longer than a worker that has lost NATS goes on with its task

KEEP_UNLESS_FORGOTTEN: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('TTL', KEYS[1]) < 0 then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""

Found = TypeVar("Found", bound=BaseModel)

log = structlog.get_logger()


def connected(url: str) -> Redis:
    """Make a Redis client that does not retry, because a task can compute a finding itself."""
    return Redis.from_url(
        url, socket_timeout=ANSWER_TIMEOUT_S, socket_connect_timeout=ANSWER_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )


class Cache:
    """Keeps findings by the SHA-256 of the recording and by a question: the engine and its options as text.

    While Redis is away, the cache finds nothing and keeps nothing: tasks compute everything.
    """

    def __init__(self, redis: Redis, *, keep: float) -> None:
        """`keep` is how many seconds a finding is kept; with 0 the cache keeps nothing."""
        self._redis = redis
        self._seconds = int(keep)
        self._keep = redis.register_script(KEEP_UNLESS_FORGOTTEN)

    async def find(self, audio_sha256: str, question: str, kind: type[Found]) -> Found | None:
        """Return a finding that was kept as one piece; None if there is none."""
        pieces = await self.find_pieces(audio_sha256, question)
        return await asyncio.to_thread(read, pieces[0], kind) if len(pieces) == 1 else None

    async def keep(self, audio_sha256: str, question: str, found: BaseModel) -> None:
        """Keep a finding, unless a task with this recording was deleted a moment ago."""
        await self.keep_pieces(audio_sha256, question, [found])

    async def find_pieces(self, audio_sha256: str, question: str) -> list[bytes]:
        """Return the pieces of a finding, each as JSON; an empty list if nothing was kept."""
        if not self._seconds:
            return []
        packed = await in_time(self._redis.hget(keys.findings(audio_sha256), question))
        return await asyncio.to_thread(_unpacked, packed) if isinstance(packed, bytes) else []

    async def keep_pieces(self, audio_sha256: str, question: str, pieces: Iterable[BaseModel]) -> None:
        """Keep a large finding in pieces, which are serialised one by one; Redis gets all pieces or none."""
        if not self._seconds:
            return
        lines = [(await asyncio.to_thread(piece.model_dump_json)).encode() for piece in pieces]
        packed = await asyncio.to_thread(_packed, lines)
        if len(packed) <= LARGEST_BYTES:
            names = [keys.findings(audio_sha256), keys.forgotten(audio_sha256)]
            await in_time(self._keep(keys=names, args=[question, packed, self._seconds]))

    async def forget(self, audio_sha256: str) -> None:
        """Delete all findings of a recording, and keep no new ones of this recording for FORGOTTEN_FOR_S.

        Raises:
            TransientError: Redis is away.
        """
        try:
            await self._redis.set(keys.forgotten(audio_sha256), "1", ex=FORGOTTEN_FOR_S)
            await self._redis.delete(keys.findings(audio_sha256))
        except (RedisError, OSError) as error:
            raise TransientError(
                ErrorCode.INTERNAL, "Redis is away: the findings of the recording are not deleted yet."
            ) from error


async def in_time(answer: "Awaitable[object] | object") -> object:
    """Return the answer of Redis; None if Redis fails or takes longer than ANSWER_TIMEOUT_S."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await cast("Awaitable[object]", answer)  # redis-py's commands are typed for both of its clients
    except (RedisError, OSError, TimeoutError) as error:
        log.warning("cache_access_failed", error=type(error).__name__)
        return None


def read(piece: bytes, kind: type[Found]) -> Found | None:
    """Parse a piece of a finding; return None if another version of the service has written it in another form."""
    try:
        return kind.model_validate_json(piece)
    except ValidationError:
        return None


def _packed(lines: Sequence[bytes]) -> bytes:
    return zlib.compress(b"\n".join(lines))  # a line end separates the items: JSON escapes those inside an item


def _unpacked(packed: bytes) -> list[bytes]:
    try:
        return zlib.decompress(packed).split(b"\n")
    except zlib.error:  # written by another version of the service
        return []
