"""Outcome: what becomes of a delivery's task and message, by how its work ended."""

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.errors import AlreadyKnownError, FencedError, TaskError, TransientError
from app.execution.attempt import TaskAttempt
from app.execution.segments import StaleSegmentsError
from app.execution.tools import DeliveryTools
from schemas import subjects
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import State

log = structlog.get_logger()


class Outcome:
    """Settles one delivery; each of its answers is how the task stands then, None if another worker decides."""

    def __init__(self, tools: DeliveryTools, message: Msg) -> None:
        self._tools = tools
        self._settler = tools.settler
        self._message = message
        self.error: ErrorDetail | None = None  # that the task has failed with, for now or for good

    async def completed(self) -> State:
        """Take the message of a task whose result is published from the queue."""
        try:
            await self._settler.done(self._message)
        except NatsError:
            log.exception("task_unsettled")  # whoever it is delivered to again finds the result
        return State.COMPLETED

    async def failed(self, error: Exception, attempt: TaskAttempt | None, *, begun: bool) -> State | None:
        """Settle by the error's type; `begun` says whether the message was a task at all."""
        try:
            return await self._by_type(error, attempt, begun=begun)
        except FencedError:
            return None
        except (TransientError, NatsError):
            log.exception("task_unsettled")  # it is delivered again after TASK_ACK_WAIT
            return None

    async def _by_type(self, error: Exception, attempt: TaskAttempt | None, *, begun: bool) -> State | None:
        if isinstance(error, FencedError):
            await self._overtaken(attempt)
            return None
        if isinstance(error, StaleSegmentsError):
            log.info("task_segments_stale")
            await self._settler.given_back(self._message, attempt)
            return State.QUEUED
        if isinstance(error, AlreadyKnownError):
            return await self._already_known(attempt)
        if not begun:
            self.error = await self._settler.invalid(self._message)
            return State.FAILED if self.error else None
        if attempt is None:
            log.error("task_unopened", error=str(error))
            await self._settler.unopened(self._message)
            return None
        return await self._attempt_failed(attempt, error)

    async def _overtaken(self, attempt: TaskAttempt | None) -> None:
        if attempt is None:
            return
        last = await self._tools.log.last(attempt.record.event.task_id)
        log.info("task_overtaken", by=last.event.state if last else "deletion")
        if await attempt.clean_up(last):
            await self._tools.projection.withdraw(attempt.record)

    async def _already_known(self, attempt: TaskAttempt | None) -> State | None:
        if attempt is None:
            log.info("task_doubled")
            self._tools.meter.doubled(subjects.kind_of(self._message.subject))
        if attempt is not None and attempt.record.event.state is State.FAILED:
            await self._settler.buried(self._message, attempt.record.event)
        else:
            await self._settler.done(self._message)
        return State.COMPLETED if attempt is not None and attempt.completed else None

    async def _attempt_failed(self, attempt: TaskAttempt, error: Exception) -> State:
        last = attempt.record.event
        decided = last.state.ended or await attempt.end_as_decided()  # only the last append may be missing
        if not decided and last.state is State.QUEUED:
            await attempt.start()  # what has failed has run
        failure = _as_task_error(error)
        self.error = failure.detail
        for_operators = failure.detail.code is ErrorCode.INTERNAL  # any other message may name a file
        why = failure.detail.message if for_operators else None
        log.warning("task_attempt_failed", error=failure.detail.code, reason=why)
        return await self._settler.failed(self._message, attempt, failure)


def _as_task_error(error: Exception) -> TaskError:
    """What is to be said of an error that nobody foresaw."""
    if isinstance(error, TaskError):
        return error
    log.error("task_broken", exc_info=error)
    return TransientError(ErrorCode.INTERNAL, "The service broke on this task: tell its operator the task id.")
