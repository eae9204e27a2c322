"""Handles requests of clients about a task, all tasks of a user, the task queues or the workers."""

from faststream.nats import NatsResponse
from natscribe.schemas import channels
from natscribe.schemas.kinds import Result
from natscribe.schemas.redaction import Redacted, RedactRequest
from natscribe.schemas.requests import Deleted, ResultRequest, TaskRequest, TaskStatus, UserRequest
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.task_queues import QueueOverview, QueueRequest
from natscribe.schemas.workers import WorkerInfo, WorkersRequest

from app.requests.task_list import TaskList
from app.requests.task_queues import QueueOverviews
from app.requests.task_requests import TaskRequests
from app.requests.text_redaction import TextRedaction
from app.requests.user_erasure import UserErasure
from app.requests.worker_report import WorkerReport
from handlers.dependencies import part
from handlers.replies import request_route


async def status(request: TaskRequest, tasks: TaskRequests = part(lambda worker: worker.tasks)) -> TaskStatus:
    """Reply with the status of a task: its state, progress and times."""
    return await tasks.status(request.task_id)


async def result(
    request: ResultRequest, tasks: TaskRequests = part(lambda worker: worker.tasks)
) -> Result | NatsResponse:
    """Reply with the result of a task, in the requested format.

    The header `content-type` says what the reply contains. With `application/json` it is the result or `{error: ...}`;
    if the result in the requested format is too large for a message, `object` of the result refers to the object that
    contains it. With any other type, the body is the result in the requested format. For a failed task, the reply is
    the error of the task.
    """
    result = await tasks.result(request)
    if isinstance(result, bytes):
        return NatsResponse(result, headers={"content-type": request.format.content_type})
    return result


async def list_tasks(request: ListRequest, task_list: TaskList = part(lambda worker: worker.task_list)) -> TaskPage:
    """Reply with a page of tasks, the newest first.

    The request is an object; `{}` requests the tasks of all users in all states. The tasks are read from Redis, which
    may be up to 1 s behind JetStream, and up to `TASK_ACK_WAIT` after the loss of a worker. `more_before` says where to
    continue; if tasks are added between two pages, no task is repeated or missing. A task that only a later version of
    the service can read is left out. Every client that may send this request sees the tasks of all users: `user_id` is
    only a filter, not a permission.
    """
    return await task_list.page(request)


async def queue(
    request: QueueRequest, task_queues: QueueOverviews = part(lambda worker: worker.task_queues)
) -> QueueOverview:
    """Reply with the number of tasks that wait and run in each task queue.

    The request is an object without fields, `{}`. The reply has the nine task queues, from high to low priority, and
    the number of dead letters.
    """
    del request  # it has no fields
    return await task_queues.read()


async def worker(
    request: WorkersRequest, worker_report: WorkerReport = part(lambda worker: worker.worker_report)
) -> WorkerInfo:
    """Reply with the version, the model and the health of this worker.

    The request is an object without fields, `{}`. Each worker replies: subscribe to an inbox, publish the request with
    that inbox as its reply subject, and collect replies for 2 s.
    """
    del request  # it has no fields
    return await worker_report.read()


async def cancel(request: TaskRequest, tasks: TaskRequests = part(lambda worker: worker.tasks)) -> TaskStatus:
    """Cancel a task that is queued or running.

    The reply is the new status of the task; a task that has already ended does not change.
    """
    return await tasks.cancel(request.task_id)


async def delete(
    request: TaskRequest | UserRequest,
    tasks: TaskRequests = part(lambda worker: worker.tasks),
    users: UserErasure = part(lambda worker: worker.users),
) -> Deleted:
    """Delete all data of a task, or of all tasks of a user.

    The service deletes events, result, dead letters and the recording in its bucket; it first cancels a task that has
    not ended. If a user has many tasks, the reply says where to continue. Do not use the id of a deleted task again:
    for two minutes after a task was published, JetStream drops another task with this `Nats-Msg-Id` as a duplicate.
    """
    if isinstance(request, UserRequest):
        return await users.delete(request)
    await tasks.delete(request.task_id)
    return Deleted()


async def redact(request: RedactRequest, redaction: TextRedaction = part(lambda worker: worker.redaction)) -> Redacted:
    """Reply with the text in which personal data is replaced.

    The service stores neither the text nor the reply, and logs neither. `entities` of the reply says what was replaced
    and where, but not its text. Rules find it: docs/redaction.md has how much of it they find.
    """
    return await redaction.redact(request)


ROUTES = (
    request_route(channels.STATUS, status),
    request_route(channels.RESULT, result),
    request_route(channels.LIST, list_tasks),
    request_route(channels.QUEUE, queue),
    request_route(channels.WORKERS, worker),
    request_route(channels.CANCEL, cancel),
    request_route(channels.DELETE, delete),
    request_route(channels.REDACT, redact),
)
