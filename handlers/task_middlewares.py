"""The middlewares around the handlers of granted tasks, each for one concern."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Generic, TypeVar, cast

from faststream import BaseMiddleware, ContextRepo, StreamMessage
from nats.aio.msg import Msg

from app.container import Container
from app.runtime.cancellation import despite_cancellation
from app.speech.window_sharing.sharing import WorkSharing
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.beginning import Beginning
from app.tasks.execution.delivery import Delivery
from app.tasks.execution.heartbeat import Heartbeat
from app.tasks.execution.settlement import DeliveryOutcome, Settlement
from app.tasks.execution.telemetry import Telemetry
from app.tasks.queue.granted_task import GrantedTask

Component = TypeVar("Component")
Next = Callable[[StreamMessage[Msg]], Awaitable[Any]]  # `Any`: what the handler returns

_delivery: ContextVar[Delivery] = ContextVar("delivery")  # that FastStream processes
_attempt: ContextVar[TaskAttempt] = ContextVar("attempt")  # which it started


async def current_attempt() -> TaskAttempt:
    """Return the attempt at the task that FastStream passes to a handler."""
    return _attempt.get()


class TaskMiddleware(BaseMiddleware[Any, Any], Generic[Component]):  # `Any`: FastStream's type parameters
    """A middleware that a component of the worker does the work for."""

    def __init__(self, component: Component, grant: Msg, /, *, context: ContextRepo) -> None:
        super().__init__(grant, context=context)
        self._component = component


class DeliveryMiddleware(TaskMiddleware[Callable[[GrantedTask], Delivery]]):
    """Creates the delivery of the task, for the other middlewares."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler with the delivery."""
        granted = cast("GrantedTask", msg)  # the subscriber's parser has made it
        token = _delivery.set(self._component(granted))
        try:
            await call_next(msg)
        finally:  # an idle slot keeps no transcript
            _delivery.reset(token)


class TelemetryMiddleware(TaskMiddleware[Telemetry]):
    """Reports the delivery and its outcome in the metrics and the log."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler, and report the outcome that the settlement returns."""
        with self._component.during(_delivery.get()):
            outcome: DeliveryOutcome = await call_next(msg)
            self._component.report(_delivery.get(), outcome)


class SharingMiddleware(TaskMiddleware[WorkSharing]):
    """Lets this worker transcribe no windows (parts of recordings) of other workers while it runs a task."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> DeliveryOutcome:
        """Call the handler while no windows are shared; return the outcome."""
        async with self._component.pause_sharing():
            outcome: DeliveryOutcome = await call_next(msg)
            return outcome


class SettlementMiddleware(TaskMiddleware[Settlement]):
    """Settles the message, however the handler ends, and also if the worker stops meanwhile."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> DeliveryOutcome:
        """Call the handler, settle the message, and return the outcome."""
        delivery = _delivery.get()
        try:
            await call_next(msg)
        except asyncio.CancelledError:  # by the task slot, when the worker stops
            settling = self._component.release(delivery)
        except Exception as error:  # noqa: BLE001 -- whatever the error, the message must be settled
            settling = self._component.settle(delivery, error)
        else:
            settling = self._component.settle(delivery)
        return await despite_cancellation(settling)


class HeartbeatMiddleware(TaskMiddleware[Heartbeat]):
    """Keeps JetStream from delivering the message again, and stops the handler if it is fenced or hangs."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler with heartbeats."""
        async with self._component.during(_delivery.get()):
            await call_next(msg)


class AttemptMiddleware(TaskMiddleware[Beginning]):
    """Begins an attempt at the task, and stores the result that the handler returns."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler with the attempt."""
        attempt = await self._component.begin(_delivery.get())
        token = _attempt.set(attempt)
        try:
            await attempt.publish(await call_next(msg))
        finally:
            _attempt.reset(token)


def task_middlewares(container: Container, *, ack_wait: float) -> tuple[Callable[..., TaskMiddleware[Any]], ...]:
    """Return the middlewares around the handlers of granted tasks, the outermost first.

    `ack_wait`: JetStream redelivers a task this many seconds after the last heartbeat of its worker.
    """
    return (
        partial(DeliveryMiddleware, partial(Delivery.of, settings=container.settings, ack_wait=ack_wait)),
        partial(TelemetryMiddleware, container.telemetry),
        partial(SharingMiddleware, container.sharing),
        partial(SettlementMiddleware, container.settlement),
        partial(HeartbeatMiddleware, container.heartbeat),
        partial(AttemptMiddleware, container.beginning),
    )
