"""Supervision: work that goes on beside the tasks as long as its worker lives."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from nats.errors import Error as NatsError

from app.errors import TransientError

log = structlog.get_logger()


async def run_forever(
    name: str, work: Callable[[], Awaitable[object]], *, every_s: float, retry_after_s: float | None = None
) -> None:
    """Do some work again and again until cancelled, `every_s` seconds after it ended.

    Whatever error it raises is logged under its name, and the work is done again after `retry_after_s` seconds, or
    `every_s` where that is not given: nobody else does it.
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
