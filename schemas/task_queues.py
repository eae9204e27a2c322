"""The request for the state of the task queues, and the reply to it."""

from pydantic import Field

from .wire import Input, Kind, Message, Priority, Seconds, TaskType, Time, UserId

MAX_LISTED_USERS = 20  # in one reply


class QueueRequest(Input):
    """A request for the state of all task queues; it has no fields."""


class QueueStatus(Message):
    """The state of one task queue, which holds the tasks of one task type and one priority."""

    queue: TaskType = Field(description="Type of the tasks in the queue.")
    kind: Kind = Field(description="Kind of result that the tasks produce; `transcription` also for live tasks.")
    priority: Priority = Field(description="Priority of the tasks.")
    waiting: int = Field(ge=0, description="Number of tasks that wait for a worker.", examples=[12])
    scheduled: int = Field(
        0, ge=0, description="Number of tasks that wait for their `not_before`, not counted in `waiting`.", examples=[1]
    )
    running: int = Field(ge=0, description="Number of tasks that run, or wait for their next attempt.", examples=[2])
    oldest: Time | None = Field(
        description="Since when the oldest waiting task waits, i.e. when it was stored, or its `not_before` if that is "
        "later; null if no task waits."
    )


class UserLoad(Message):
    """How many tasks of one user wait and run."""

    user_id: UserId | None = Field(description="The user; null: all task messages without a valid user id.")
    waiting: int = Field(
        ge=0, description="Number of tasks that wait for a worker; scheduled tasks are not counted.", examples=[12]
    )
    running: int = Field(ge=0, description="Number of tasks that run, or wait for their next attempt.", examples=[2])
    waiting_seconds: Seconds = Field(
        description="Estimated seconds of audio of the waiting tasks, from the header `Natscribe-Audio-Seconds` or, "
        "for tasks without it, from the latest tasks of the user.",
        examples=[5400.0],
    )


class QueueOverview(Message):
    """The reply to a request for the state of the task queues."""

    queues: list[QueueStatus] = Field(description="The nine task queues, sorted by priority, the highest first.")
    dead_letters: int = Field(ge=0, description="Number of stored dead letters.", examples=[1])
    users: list[UserLoad] = Field(
        default_factory=list,
        max_length=MAX_LISTED_USERS,
        description="The users with the most waiting audio, at most 20; empty while no worker runs the scheduler, "
        "which counts them.",
    )
