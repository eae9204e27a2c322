"""The state of the task queues: the request and its reply."""

from pydantic import Field

from .wire import Input, Kind, Lane, Message, Priority, Time


class QueueRequest(Input):
    """Asks for the state of the task queues: it has no fields."""


class QueueStatus(Message):
    """The state of one of the nine task queues."""

    queue: Lane = Field(description="What the queue holds.")
    kind: Kind = Field(description="Kind of the tasks.")
    priority: Priority = Field(description="Priority of the tasks.")
    waiting: int = Field(ge=0, description="How many tasks wait for a worker.", examples=[12])
    running: int = Field(
        ge=0, description="How many tasks a worker runs, or wait for the time of their next attempt.", examples=[2]
    )
    oldest: Time | None = Field(description="When the oldest waiting task was stored; null if no task waits.")
    newest_start: Time | None = Field(
        description="When the task that was published last is expected to start; null if it does not wait, and if no "
        "estimate exists yet."
    )


class QueueOverview(Message):
    """The state of all task queues, and the number of dead letters."""

    queues: list[QueueStatus] = Field(description="The nine task queues, the highest priority first.")
    dead_letters: int = Field(ge=0, description="How many dead letters are stored.", examples=[1])
