"""Granted tasks: the task message that a grant names, in the form in which FastStream passes it to a handler."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog
from faststream.nats.message import NatsMessage
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.runtime.errors import MessageGoneError, describe
from app.tasks.queue.grants import read_grant
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages

EARLY_AGAIN_AFTER_S: Final = 5.0  # at most, until the next delivery of a grant that came too early
READ_AGAIN_AFTER_S: Final = 1.0  # a grant whose task could not be read

log = structlog.get_logger()


class TooEarlyError(Exception):
    """A task was granted before its start time, because the scheduler was wrong about the time of the NATS server."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds  # until the task may start


class GrantedTask(NatsMessage):
    """A granted task as FastStream passes it to a handler; acknowledging it acknowledges the grant.

    `stored`: the message of the task stream that the grant names.
    """

    def __init__(self, grant: Msg, stored: StoredMessage) -> None:
        # The subject of the task queue, not that of the grant: FastStream names tracing spans after it.
        raw, headers = replace(grant, subject=stored.subject), dict(stored.headers)
        super().__init__(raw, stored.body, headers=headers, content_type=headers.get("content-type"))
        self.stored = stored


@dataclass(frozen=True, slots=True)
class GrantReader:
    """Reads the tasks that grants name; it is the parser of the subscribers to grants."""

    messages: TaskMessages

    async def __call__(self, grant: Msg, _default_parser: Callable[[Msg], Awaitable[NatsMessage]]) -> GrantedTask:
        """Read the granted task from the leader of the task stream.

        Raises:
            MessageGoneError: The task stream no longer holds the task message.
            NatsError: NATS does not answer.
            TooEarlyError: The task may not start yet.
            UnreadableError: Another version of the service has written the grant.
        """
        granted = read_grant(grant.data)
        stored = await self.messages.find(granted.subject, granted.sequence)
        if stored is None:
            raise MessageGoneError(granted.subject)
        if early_by := await self.messages.seconds_until_due(stored):
            raise TooEarlyError(early_by)
        return GrantedTask(grant, stored)

    async def settle_unread(self, grant: Msg, error: BaseException) -> None:
        """Settle a grant whose task could not be read because of `error`.

        If the task is gone, acknowledge the grant and notify the scheduler. Otherwise return the grant, so that
        JetStream delivers it again: at once if this worker stops, for a task that may not start yet after up to
        EARLY_AGAIN_AFTER_S, and else after READ_AGAIN_AFTER_S.
        """
        with suppress(NatsError):  # JetStream delivers the grant again after its ack_wait
            if isinstance(error, MessageGoneError):
                await grant.ack()
                await self.messages.note_end(read_grant(grant.data))
            elif isinstance(error, TooEarlyError):
                await grant.nak(delay=min(error.seconds, EARLY_AGAIN_AFTER_S))
            elif isinstance(error, Exception):
                log.warning("granted_task_unread", error=describe(error))
                await grant.nak(delay=READ_AGAIN_AFTER_S)
            else:  # cancelled: the worker stops
                await grant.nak()
