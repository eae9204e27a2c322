"""Errors of Redis, with what an operator can do about them."""

from collections.abc import Iterator
from contextlib import contextmanager

from natscribe.schemas.errors import ErrorCode
from redis.exceptions import AuthenticationError, OutOfMemoryError, RedisError, ResponseError

from app.runtime.errors import TransientError


@contextmanager
def explained_errors() -> Iterator[None]:
    """Convert errors of Redis in the `with` block, which changes the service's keys, into a TransientError.

    The text of the TransientError says what the operator can do, and that the service makes the change later.

    Raises:
        TransientError: Redis is unavailable, is full, or refuses the service.
    """
    try:
        yield
    except OutOfMemoryError as error:
        text = "Redis is full: give it more memory (maxmemory), or shorten CACHE_TTL; the service writes its keys then."
        raise TransientError(ErrorCode.INTERNAL, text) from error
    except (AuthenticationError, ResponseError) as error:
        text = f"Redis refuses the service ({error}): correct REDIS_URL, or restart Redis with deploy/redis/users.sh."
        raise TransientError(ErrorCode.INTERNAL, text) from error
    except (RedisError, OSError) as error:
        text = "Redis is unavailable: the service changes its keys when Redis is available again."
        raise TransientError(ErrorCode.INTERNAL, text) from error
