"""The time limit of reads for a request, and the error reply if a server does not answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.requests import READ_WITHIN_S
from redis.exceptions import RedisError

from app.runtime.errors import RequestError, TransientError


@asynccontextmanager
async def answering(failure: str) -> AsyncIterator[None]:
    """Stop the block after READ_WITHIN_S seconds; convert an error of NATS or Redis into the error reply `failure`.

    Raises:
        RequestError: NATS or Redis is unavailable or does not answer in time.
    """
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            yield
    except (NatsError, RedisError, TransientError, OSError, TimeoutError) as error:
        raise RequestError(ErrorCode.INTERNAL, failure) from error
