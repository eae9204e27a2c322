"""The heartbeat of a delivery: extends its acknowledgement timeout, appends progress, and detects other writers."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent

from app.runtime.cancellation import StopScope, cancel_all
from app.runtime.errors import FencedError, RequestError, TransientError, describe
from app.runtime.telemetry.metrics import Meter
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.delivery import Delivery

APPEND_EVERY_S: Final = 1.0
FIRST_AFTER_S: Final = 0.25  # work that ends within this time needs no heartbeat

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Keeps deliveries from being redelivered while their tasks run, and stops those that are fenced or hang.

    `timeout`: the seconds after which a task that makes no progress is stopped.
    """

    nats: Client
    meter: Meter
    timeout: float

    @asynccontextmanager
    async def during(self, delivery: Delivery) -> AsyncIterator[None]:
        """Extend the delivery's acknowledgement timeout while the `with` block runs, so that it is not redelivered.

        Raises:
            FencedError: Another writer has appended to the task's log, so the block was stopped.
            TransientError: The block has made no progress for `timeout`, so it was stopped.
        """
        beats: list[asyncio.Task[None]] = []

        def start() -> None:
            beats.extend(asyncio.create_task(beat) for beat in (_extend(delivery), self._follow(delivery, stop)))

        stop = StopScope(self._timed_out(), after=self.timeout, since=partial(_seconds_without_progress, delivery))
        timer = asyncio.get_running_loop().call_later(min(FIRST_AFTER_S, delivery.heartbeat), start)
        try:
            async with stop:
                yield
        finally:
            timer.cancel()
            await cancel_all(beats)

    def _timed_out(self) -> TransientError:
        message = (
            f"The attempt made no progress for TASK_TIMEOUT ({self.timeout:g} s): "
            "the operator can read the worker's log, or raise it."
        )
        return TransientError(ErrorCode.TIMEOUT, message)

    async def _follow(self, delivery: Delivery, stop: StopScope) -> None:
        """Append the attempt's latest progress to the task's log periodically, about once per second.

        Stop the delivery if another writer appends to the log.
        """
        watch: Subscription | None = None
        try:
            while True:
                attempt = delivery.attempt
                try:
                    if attempt is not None and watch is None:
                        watch = await self._watch(attempt, stop)
                        await attempt.check()  # other writers may have appended before the subscription
                    if attempt is not None:
                        self.meter.report_running(
                            delivery.task_type, since_progress=attempt.seconds_since_progress, running=delivery.seconds
                        )
                        await attempt.tick()
                except FencedError as fenced:
                    stop.now(fenced)
                except (TransientError, NatsError, RequestError) as error:
                    log.warning("progress_append_failed", error=describe(error))
                except Exception:
                    log.exception("progress_append_failed")
                await asyncio.sleep(min(APPEND_EVERY_S, delivery.heartbeat))
        finally:
            if watch is not None:
                with suppress(NatsError):
                    await watch.unsubscribe()

    async def _watch(self, attempt: TaskAttempt, stop: StopScope) -> Subscription:
        """Subscribe to the events of the task's log, and stop the delivery as soon as another writer has appended one.

        Return the subscription.
        """

        async def check(message: Msg) -> None:
            # ValueError: the service did not write this message. TransientError: JetStream does not reply.
            with suppress(ValueError, TransientError, RequestError):
                try:
                    await attempt.check(ProgressEvent.model_validate_json(message.data).sequence)
                except FencedError as fenced:
                    stop.now(fenced)

        return await self.nats.subscribe(subjects.progress(attempt.record.event.task_id), cb=check)


async def _extend(delivery: Delivery) -> None:
    """Extend the delivery's acknowledgement timeout periodically, independently of appends, which NATS may delay."""
    while True:
        # If too many extensions fail, another worker gets the task and fences this worker.
        with suppress(NatsError):
            await delivery.grant.in_progress()
        await asyncio.sleep(delivery.heartbeat)


def _seconds_without_progress(delivery: Delivery) -> float:
    """Return the seconds since the attempt's last progress; infinity before the attempt has begun."""
    return delivery.attempt.seconds_since_progress if delivery.attempt else math.inf
