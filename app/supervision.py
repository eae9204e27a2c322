"""Supervision: repeat background work, whatever errors it raises, until the worker ends."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from nats.errors import Error as NatsError

from app.errors import TransientError

log = structlog.get_logger()


async def run_forever(
    name: str, work: Callable[[], Awaitable[object]], *, every_s: float, retry_after_s: float | None = None
) -> None:
    """Repeat some work until cancelled, with a pause of `every_s` seconds after each round.

    If a round raises an error, log the error with the name of the work, and pause for `retry_after_s` seconds; without
    `retry_after_s`, pause for `every_s` seconds.
    """
    while True:
        pause = every_s
        try:
            await work()
        except Exception as error:
            pause = every_s if retry_after_s is None else retry_after_s
            if isinstance(error, (NatsError, TransientError)):
                log.warning("work_interrupted", work=name, error=str(error) or type(error).__name__)
            else:
                log.exception("work_failed", work=name)
        await asyncio.sleep(pause)
