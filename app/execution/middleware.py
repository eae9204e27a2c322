"""How FastStream hands a task message over: as a delivery that the handler finds in its context."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from faststream import BaseMiddleware, StreamMessage
from nats.aio.msg import Msg
from structlog.contextvars import bound_contextvars

from app.execution.task_run import TaskDelivery
from app.execution.tools import DeliveryTools
from app.telemetry.metrics import task_name


class DeliveryMiddleware(
    BaseMiddleware[Any, Any]
):  # the library's own type variables: of a command that is none of our business
    """Turns a message of the task stream into a delivery that the handler finds in its context."""

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> None:
        """Work on the message, and say in the log and the metrics how it ended."""
        tools: DeliveryTools = self.context.get("delivery_tools")
        delivery = TaskDelivery(tools, msg.raw_message)
        began = time.monotonic()
        with (
            self.context.scope("delivery", delivery),
            tools.meter.in_progress(delivery.kind),
            bound_contextvars(task_name=task_name(delivery.kind), task_id=None, attempt=None, trace_id=None),
        ):
            state = await delivery.work(partial(call_next, msg))
            delivery.count_end(state, time.monotonic() - began)
