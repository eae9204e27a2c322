"""In whose hands an attempt is."""

from typing import Protocol

from app.log.entry import Entry


class Hands(Protocol):
    """The delivery that an attempt is in, as far as the attempt speaks to it."""

    async def engine(self) -> None:
        """Wait for the worker's engine."""
        ...

    def started(self, before: Entry) -> None:
        """`running` is said, behind this entry."""
        ...

    def found(self) -> None:
        """The result is there, and has only to be written down."""
        ...
