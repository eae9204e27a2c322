"""The event that the data of a task were erased, so that programs with copies of them erase these, too."""

from typing import Annotated

from pydantic import Field

from .enums import DescribedEnum, of_any_version
from .wire import Message, TaskId, Time, UserId


class ErasureReason(DescribedEnum):
    """Why the data of a task were erased."""

    REQUEST = "request", "A client has deleted the task."
    USER = "user", "A client has deleted the user of the task."
    RETENTION = "retention", "The time of `keep_seconds` is over."


class Erased(Message):
    """The data of a task were erased: whoever has stored any of them has to erase them, too.

    It concerns what was stored before this event: a later task may have the same id. It may come twice. Data that
    expire, because the task has no `keep_seconds`, get no event.
    """

    task_id: TaskId
    user_id: UserId | None = Field(
        description="Owner of the task; null if the user was deleted, now or later, or if the service does not know it."
    )
    reason: Annotated[ErasureReason, of_any_version(ErasureReason)] = Field(description="Why the data were erased.")
    time: Time = Field(description="When the data were erased.")
