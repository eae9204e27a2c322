"""Handles `tasks.status`, `tasks.result`, `tasks.cancel` and `tasks.delete`, from the log of the task."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats.js.errors import NotFoundError
from natscribe.schemas.erased import ErasureReason
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.request_errors import without_result
from natscribe.schemas.requests import ResultRequest, TaskStatus

from app.requests.result_writer import ResultWriter
from app.runtime.errors import FencedError, RequestError, TransientError
from app.speech.updates import Result
from app.tasks.queue.positions import Positions
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.retention.erasure import Erasure
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record


@dataclass(frozen=True, slots=True)
class TaskRequests:
    """Handles requests of clients about one task: status, result, cancel, delete.

    `writer`: reads results, and converts them to the requested format. `positions`: where waiting tasks are in the
    queue.
    """

    log: TaskLog
    writer: ResultWriter
    positions: Positions
    messages: TaskMessages
    erasure: Erasure
    find: Callable[[str], Awaitable[Record]]  # returns the last record of a task, registered or only stored

    async def status(self, task_id: str) -> TaskStatus:
        """Return the status of a task, with its position in the queue while it waits.

        Raises:
            RequestError: The task is unknown, or JetStream does not answer.
        """
        record = await self.find(task_id)
        status = record.status
        if status.state is not State.QUEUED:
            return status
        for message, position in await self.positions.locate(
            [(record.metadata.subject, record.metadata.task_sequence)]
        ):
            if message.owns(record) and position is not None:
                return position.added_to(status)
        return status

    async def result(self, request: ResultRequest) -> Result | bytes:
        """Return the result of a completed task, with the current names of speakers.

        In other formats than JSON, the result is returned as a file (`bytes`). If the file is too large for a message,
        a result with a reference to an object is returned instead: see `ResultWriter.write`.

        Raises:
            RequestError: The task is unknown or has no result, the result cannot be written in the requested format, or
                too many requests for results wait.
        """
        record = await self.find(request.task_id)
        if record.event.state is not State.COMPLETED:
            raise RequestError.of(without_result(record.status))
        try:
            return await self.writer.write(record, request)
        except NotFoundError as error:
            message = f"The result of task {request.task_id} has expired: submit the task again under a new id."
            raise RequestError(ErrorCode.NOT_FOUND, message) from error

    async def cancel(self, task_id: str) -> TaskStatus:
        """Cancel a task unless it has ended, and return the status of the task.

        A worker that runs the task stops when it reads the event `cancelled` in the task's log.

        Raises:
            RequestError: The task is unknown, or JetStream does not answer.
        """
        return (await self._cancel_unless_ended(task_id)).status

    async def _cancel_unless_ended(self, task_id: str) -> Record:
        """Cancel a task unless it has ended, and return the last record of its log."""
        while True:
            record = await self.find(task_id)
            if record.event.state.ended:
                return record
            try:
                ended = await self.log.end(record)
            except FencedError:
                continue  # another writer has appended: read the log again
            # The message of a failed task stays: the worker that receives it stores the dead letter first.
            if ended.event.state is not State.FAILED:
                await self.messages.remove(record)
            return ended

    async def delete(self, task_id: str, reason: ErasureReason = ErasureReason.REQUEST) -> None:
        """Cancel a task, delete all its data (events, result, Redis keys, dead letters, recording), and tell followers.

        Raises:
            RequestError: The task is unknown, or some of its data could not be deleted.
        """
        try:
            last = await self._cancel_unless_ended(task_id)
        except RequestError as unknown:
            if unknown.detail.code is ErrorCode.NOT_FOUND and await self.erasure.erase_without_log(task_id, reason):
                return  # recordings and dead letters are stored for longer than logs
            raise
        try:
            await self.erasure.erase(last, reason)
        except TransientError as error:
            message = (
                f"Task {task_id} is not deleted completely, Redis or the bucket is unavailable: try again in a moment."
            )
            raise RequestError(ErrorCode.INTERNAL, message) from error
