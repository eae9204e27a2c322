"""The two kinds of slots: a slot is a worker's room for one running task."""

from enum import StrEnum

from natscribe.schemas.wire import Lane


class Slots(StrEnum):
    """The two kinds of slots of a worker; a slot is room for one running task.

    A worker has one slot for recordings and several slots for live tasks.
    """

    RECORDINGS = "recordings"
    LIVE = "live"

    @classmethod
    def of(cls, lane: Lane) -> "Slots":
        """Return the kind of slots in which tasks of a lane (transcription, diarization or live) run."""
        return cls.LIVE if lane is Lane.LIVE else cls.RECORDINGS
