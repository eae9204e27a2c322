"""The channels between workers, and with them all channels; those of the contract are in `schemas/channels.py`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from natscribe.schemas import channels, subjects
from natscribe.schemas.channels import SERVICE, Channel, Role, Tag
from natscribe.schemas.headers import RequestHeaders, TaskHeaders
from natscribe.schemas.kinds import TASKS
from natscribe.schemas.wire import TaskType, Time
from pydantic import Field

from app.engines.windows import WindowReply, WindowRequest


class AcceptedHeaders(TaskHeaders):
    """Headers of a stored task message that JetStream republishes to the workers, with its stream and sequence."""

    stream: str = Field(alias="Nats-Stream", description="The task stream.", examples=["transcription_tasks"])
    subject: str = Field(
        alias="Nats-Subject",
        description="The subject on which the task was published.",
        examples=["tasks.transcription.normal"],
    )
    sequence: str = Field(
        alias="Nats-Sequence", description="The sequence of the message in the task stream.", examples=["112"]
    )
    time: Time = Field(alias="Nats-Time-Stamp", description="When the message was stored.")


class InsideHeaders(RequestHeaders):
    """Headers of a request that a worker sends to other workers."""


@dataclass(frozen=True, slots=True)
class Internal(Channel):
    """A channel between workers, which is not part of the contract."""

    publishers: tuple[Role, ...] = SERVICE


ACCEPTED: Mapping[TaskType, Channel] = {
    task_type: Channel(
        subjects.accepted(task_type, "{priority}"),
        f"accepted{task_type.capitalize()}Tasks",
        f"accept{task_type.capitalize()}",
        f"Accepted {task_type.task} tasks",
        TASKS[task_type],
        tag=Tag.INSIDE,
        headers=AcceptedHeaders,
        publishers=(),  # JetStream republishes tasks there
    )
    for task_type in TaskType
}
WINDOWS = Channel(
    subjects.windows("{engine}"),
    "windowRequests",
    "transcribeWindow",
    "Shared windows",
    WindowRequest,
    WindowReply,
    tag=Tag.INSIDE,
    headers=InsideHeaders,
    publishers=SERVICE,
)
NO_RESULTS = Internal(subjects.no_results("{task_id}"), "noResults", subscribers=(), stream="results")
GRANTS = Internal(subjects.ready("{pool}", "{sequence}"), "grants", subscribers=(), stream="ready")
REMOVED = Internal(subjects.REMOVED, "removedTasks")
POSITIONS = Internal(subjects.POSITIONS, "positions")
REMINDERS = Internal(
    subjects.reminder("{user}", "{recording}", "{task_id}"), "reminders", subscribers=(), stream="retention"
)
DUE = Internal(
    subjects.due("{user}", "{recording}", "{task_id}"), "due", publishers=(), subscribers=(), stream="retention"
)
LEASE = Internal("fleet.{key}", "lease", publishers=())  # JetStream republishes the bucket there
QUOTAS = Internal("quotas.{user}", "quotas", publishers=())

CHANNELS: Final = (
    *channels.CHANNELS,
    *ACCEPTED.values(),
    WINDOWS,
    *(NO_RESULTS, GRANTS, REMOVED, POSITIONS, REMINDERS, DUE, LEASE, QUOTAS),
)
