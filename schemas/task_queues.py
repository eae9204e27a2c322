"""The request for the state of the task queues, and the reply to it."""

from pydantic import Field

from .wire import Input, Kind, Lane, Message, Priority, Seconds, Time, UserId

MAX_LISTED_USERS = 20  # in one reply


class QueueRequest(Input):
    """A request for the state of all task queues; it has no fields."""


class QueueStatus(Message):
    """The state of one task queue, which holds the tasks of one lane and one priority."""

    queue: Lane = Field(description="Lane of the queue.")
    kind: Kind = Field(description="Kind of the tasks.")
    priority: Priority = Field(description="Priority of the tasks.")
    waiting: int = Field(ge=0, description="Number of tasks that wait for a worker.", examples=[12])
    scheduled: int = Field(
        0, ge=0, description="Number of tasks that wait until their `not_before`, besides `waiting`.", examples=[1]
    )
    running: int = Field(ge=0, description="Number of tasks that run, or wait until their next attempt.", examples=[2])
    oldest: Time | None = Field(
        description="When the oldest waiting task was stored or, if later, became due; null if no task waits."
    )
    newest_start: Time | None = Field(
        description="When the newest task is expected to start; null if it does not wait, or without an estimate."
    )


class UserLoad(Message):
    """How many tasks of one user wait and run."""

    user_id: UserId | None = Field(description="The user; null: of all task messages without a valid user.")
    waiting: int = Field(
        ge=0, description="Number of tasks that wait for a worker; scheduled tasks are not counted.", examples=[12]
    )
    running: int = Field(ge=0, description="Number of tasks that run, or wait until their next attempt.", examples=[2])
    waiting_seconds: Seconds = Field(
        description="Estimated seconds of audio of the waiting tasks, from `Natscribe-Audio-Seconds` or the latest "
        "tasks of the user.",
        examples=[5400.0],
    )


class QueueOverview(Message):
    """The reply to a request for the state of the task queues."""

    queues: list[QueueStatus] = Field(description="The nine task queues, the highest priority first.")
    dead_letters: int = Field(ge=0, description="Number of stored dead letters.", examples=[1])
    users: list[UserLoad] = Field(
        default_factory=list,
        max_length=MAX_LISTED_USERS,
        description="The users with the most waiting audio, at most 20; empty while no worker knows them.",
    )
