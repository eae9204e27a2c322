"""Supervision: repeats background work until the worker stops, whatever errors the work raises."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from nats.errors import Error as NatsError

from app.runtime.errors import RequestError, TransientError, describe

OUTAGE_PAUSE_S = 2.0  # pause of work that an outage of NATS or Redis has interrupted
LOG_INTERVAL_S = 60.0  # repeated interruptions of the same work are logged at most once per interval

log = structlog.get_logger()


async def wait_up_to(seconds: float | None, event: asyncio.Event) -> None:
    """Wait until `event` is set, but at most `seconds` seconds; None: without a limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # `asyncio.wait_for` of Python 3.11 may swallow a cancellation
            await event.wait()


async def run_forever(
    name: str, work: Callable[[], Awaitable[object]], *, every_s: float, retry_after_s: float | None = None
) -> None:
    """Repeat `work` until cancelled, with a pause of `every_s` seconds between two runs.

    After a run that fails, log the error with `name`, and pause for `retry_after_s` seconds (None: `every_s`). Outages
    of NATS or Redis are logged at most once per LOG_INTERVAL_S; after an outage, the first successful run is logged.
    """
    loop, logged_at, is_logged = asyncio.get_running_loop(), -math.inf, False
    while True:
        pause = every_s
        try:
            await work()
            if is_logged:
                log.info("work_resumed", work=name)
                is_logged = False
        except Exception as error:
            pause = every_s if retry_after_s is None else retry_after_s
            if not isinstance(error, (NatsError, TransientError, RequestError)):
                log.exception("work_failed", work=name)
            elif loop.time() - logged_at >= LOG_INTERVAL_S:
                log.warning("work_interrupted", work=name, error=describe(error))
                logged_at, is_logged = loop.time(), True
        await asyncio.sleep(pause)
