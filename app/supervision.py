"""Supervision: repeat background work, whatever errors it raises, until the worker ends."""

import asyncio
import math
from collections.abc import Awaitable, Callable

import structlog
from nats.errors import Error as NatsError

from app.errors import RequestError, TransientError, describe

OUTAGE_PAUSE_S = 2.0  # of work that NATS or Redis has interrupted
LOG_EVERY_S = 60.0  # during an outage, work that is interrupted again and again logs this at most once in this time

log = structlog.get_logger()


async def run_forever(
    name: str, work: Callable[[], Awaitable[object]], *, every_s: float, retry_after_s: float | None = None
) -> None:
    """Repeat some work until cancelled, with a pause of `every_s` seconds after each round.

    If a round raises an error, log the error with the name of the work, and pause for `retry_after_s` seconds; without
    `retry_after_s`, pause for `every_s` seconds. An outage is logged once in LOG_EVERY_S, and its end, too.
    """
    loop, logged_at, is_told = asyncio.get_running_loop(), -math.inf, False
    while True:
        pause = every_s
        try:
            await work()
            if is_told:
                log.info("work_resumed", work=name)
                is_told = False
        except Exception as error:
            pause = every_s if retry_after_s is None else retry_after_s
            if not isinstance(error, (NatsError, TransientError, RequestError)):
                log.exception("work_failed", work=name)
            elif loop.time() - logged_at >= LOG_EVERY_S:
                log.warning("work_interrupted", work=name, error=describe(error))
                logged_at, is_told = loop.time(), True
        await asyncio.sleep(pause)
