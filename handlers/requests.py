"""Requests of clients about a task, a user's tasks, the task queues or the workers."""

from typing import Annotated

from faststream.nats import NatsResponse
from natscribe.schemas import subjects
from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import Deleted, ResultRequest, TaskRequest, TaskStatus, UserRequest
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.task_queues import QueueOverview, QueueRequest
from natscribe.schemas.workers import WorkerInfo, WorkersRequest

from app.requests.task_list import TaskList
from app.requests.task_queues import Overview
from app.requests.task_requests import TaskRequests
from app.requests.user_erasure import UserErasure
from app.requests.worker_report import WorkerReport
from handlers.dependencies import FromContext
from handlers.replies import request_route


async def status(request: TaskRequest, tasks: Annotated[TaskRequests, FromContext()]) -> TaskStatus:
    """Reply with the status of a task."""
    return await tasks.status(request.task_id)


async def result(request: ResultRequest, tasks: Annotated[TaskRequests, FromContext()]) -> Result | str | NatsResponse:
    """Reply with the result of a task, in the requested format."""
    found = await tasks.result(request)
    if isinstance(found, str):
        return NatsResponse(found, headers={"content-type": request.format.content_type})
    return found


async def list_tasks(request: ListRequest, task_list: Annotated[TaskList, FromContext()]) -> TaskPage:
    """Reply with a page of tasks, the newest first."""
    return await task_list.page(request)


async def queue(request: QueueRequest, overview: Annotated[Overview, FromContext()]) -> QueueOverview:
    """Reply with the state of the task queues."""
    del request  # it has no fields
    return await overview.read()


async def worker(request: WorkersRequest, worker_report: Annotated[WorkerReport, FromContext()]) -> WorkerInfo:
    """Reply with the version, the model and the health of this worker."""
    del request  # it has no fields
    return await worker_report.read()


async def cancel(request: TaskRequest, tasks: Annotated[TaskRequests, FromContext()]) -> TaskStatus:
    """Cancel a task that is queued or running."""
    return await tasks.cancel(request.task_id)


async def delete(
    request: TaskRequest | UserRequest,
    tasks: Annotated[TaskRequests, FromContext()],
    users: Annotated[UserErasure, FromContext()],
) -> Deleted:
    """Delete all data of a task, or of all tasks of a user."""
    if isinstance(request, UserRequest):
        return await users.delete(request)
    await tasks.delete(request.task_id)
    return Deleted()


ROUTES = (
    request_route(subjects.STATUS, status),
    request_route(subjects.RESULT, result),
    request_route(subjects.LIST, list_tasks),
    request_route(subjects.QUEUE, queue),
    request_route(subjects.WORKERS, worker, queue=""),  # each worker replies
    request_route(subjects.CANCEL, cancel),
    request_route(subjects.DELETE, delete),
)
