"""A delivery of a task message by JetStream to this worker, with the attempt at the task that it starts."""

import time
from dataclasses import dataclass, field
from typing import Self

from nats.aio.msg import Msg
from natscribe.jetstream.streams import LIVE_ACK_WAIT_S
from natscribe.schemas.wire import TaskType

from app.settings import Settings
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.queue.granted_task import GrantedTask
from app.tasks.queue.stored_message import StoredMessage

LIVE_HEARTBEATS = 4  # heartbeats of a live task within its acknowledgement timeout


@dataclass(eq=False, slots=True)
class Delivery:
    """One delivery of a task message to this worker.

    `grant`: the message that let the task start. `stored`: the task message. `ack_wait`: the seconds without a
    heartbeat until JetStream delivers the grant again. `heartbeat`: the seconds between two heartbeats. `attempt`: the
    attempt at the task that this delivery has begun; None: it has not begun one yet.
    """

    grant: Msg
    stored: StoredMessage
    ack_wait: float
    heartbeat: float
    attempt: TaskAttempt | None = None
    _received_at: float = field(default_factory=time.monotonic, init=False)

    @classmethod
    def of(cls, granted: GrantedTask, settings: Settings, ack_wait: float) -> Self:
        """Create the delivery of a granted task; `ack_wait`: of the consumer of recordings, in seconds."""
        heartbeat = settings.task_heartbeat * ack_wait / settings.task_ack_wait
        if granted.stored.task_type is TaskType.LIVE:
            ack_wait = min(ack_wait, LIVE_ACK_WAIT_S)
            heartbeat = ack_wait / LIVE_HEARTBEATS
        return cls(granted.raw_message, granted.stored, ack_wait, heartbeat)

    @property
    def task_type(self) -> TaskType:
        """The type of the task."""
        return self.stored.task_type

    @property
    def seconds(self) -> float:
        """The seconds since this worker received the message."""
        return time.monotonic() - self._received_at

    @property
    def may_be_redelivered(self) -> bool:
        """Whether JetStream may have redelivered the message already: then this worker must not return it to its queue.

        JetStream may have done so if heartbeats may have failed, or if it is unknown whether the last append to the log
        was stored.
        """
        if self.attempt is not None and (self.attempt.is_running or self.attempt.is_unsure):
            return self.attempt.is_unsure
        return self.seconds > self.heartbeat
