"""The two kinds of slots in which a worker runs tasks."""

from enum import StrEnum

from natscribe.schemas.wire import Lane


class Slots(StrEnum):
    """Recordings run one at a time on each worker, beside several live tasks."""

    RECORDINGS = "recordings"
    LIVE = "live"

    @classmethod
    def of(cls, lane: Lane) -> "Slots":
        """Return the slots in which tasks of a lane run."""
        return cls.LIVE if lane is Lane.LIVE else cls.RECORDINGS
