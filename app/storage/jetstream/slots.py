"""The two pools of slots: a slot is a worker's room for one running task."""

from enum import StrEnum

from natscribe.schemas.wire import TaskType


class SlotPool(StrEnum):
    """The pools of slots of a worker; a slot is room for one running task.

    A worker has one slot for recordings and several slots for live tasks.
    """

    RECORDINGS = "recordings"
    LIVE = "live"

    @classmethod
    def of(cls, task_type: TaskType) -> "SlotPool":
        """Return the pool in which tasks of a type (transcription, diarization or live) run."""
        return cls.LIVE if task_type is TaskType.LIVE else cls.RECORDINGS
