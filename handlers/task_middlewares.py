"""The middlewares around the handlers of granted tasks, each for one concern."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, cast

from faststream import BaseMiddleware, ContextRepo, StreamMessage
from nats.aio.msg import Msg

from app.cancellation import despite_cancellation
from app.execution.beginning import Beginning
from app.execution.delivery import Delivery
from app.execution.heartbeat import Heartbeat
from app.execution.settlement import DeliveryOutcome, Settlement
from app.execution.telemetry import Telemetry
from app.queue.granted_task import GrantedTask
from app.work_sharing.sharing import WorkSharing

Component = TypeVar("Component")
Next = Callable[[StreamMessage[Msg]], Awaitable[Any]]  # `Any`: what the handler returns


class TaskMiddleware(BaseMiddleware[Any, Any], Generic[Component]):  # `Any`: FastStream's type parameters
    """A middleware that a component of the worker does the work for."""

    def __init__(self, component: Component, grant: Msg, /, *, context: ContextRepo) -> None:
        super().__init__(grant, context=context)
        self._component = component

    @property
    def _delivery(self) -> Delivery:
        return cast("Delivery", self.context.get("delivery"))


class DeliveryMiddleware(TaskMiddleware[Callable[[GrantedTask], Delivery]]):
    """Puts the delivery of the task into FastStream's context, for the other middlewares."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler with the delivery in the context."""
        granted = cast("GrantedTask", msg)  # the subscriber's parser has made it
        with self.context.scope("delivery", self._component(granted)):
            await call_next(msg)


class TelemetryMiddleware(TaskMiddleware[Telemetry]):
    """Reports the delivery and its outcome in the metrics and the log."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler, and report the outcome that the settlement returns."""
        with self._component.during(self._delivery):
            outcome: DeliveryOutcome = await call_next(msg)
            self._component.report(self._delivery, outcome)


class SharingMiddleware(TaskMiddleware[WorkSharing]):
    """Lets this worker transcribe no windows (parts of recordings) of other workers while it runs a task."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> DeliveryOutcome:
        """Call the handler while no windows are shared; return the outcome."""
        async with self._component.pause_sharing():
            outcome: DeliveryOutcome = await call_next(msg)
            return outcome


class SettlementMiddleware(TaskMiddleware[Settlement]):
    """Settles the message, however the handler ends."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> DeliveryOutcome:
        """Call the handler, settle the message, and return the outcome."""
        try:
            await call_next(msg)
        except asyncio.CancelledError:  # by the task slot, when the worker stops
            return await despite_cancellation(self._component.release(self._delivery))
        except Exception as error:  # noqa: BLE001 -- whatever the error, the message must be settled
            return await self._component.settle(self._delivery, error)
        return await self._component.settle(self._delivery)


class HeartbeatMiddleware(TaskMiddleware[Heartbeat]):
    """Keeps JetStream from delivering the message again, and stops the handler if it is fenced or hangs."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler with heartbeats."""
        async with self._component.during(self._delivery):
            await call_next(msg)


class AttemptMiddleware(TaskMiddleware[Beginning]):
    """Begins an attempt at the task, and stores the result that the handler returns."""

    async def consume_scope(self, call_next: Next, msg: StreamMessage[Msg]) -> None:
        """Call the handler with the attempt in the context."""
        attempt = await self._component.begin(self._delivery)
        with self.context.scope("attempt", attempt):
            await attempt.publish(await call_next(msg))
