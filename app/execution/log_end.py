"""The end of a task's log: what one worker appends there, as long as nobody else does."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from app.cancellation import despite_cancellation
from app.errors import OvertakenError, TransientError
from app.task_log.log import TaskLog
from app.task_log.record import Entry, Facts
from schemas.progress import ProgressEvent, State

LAST_WORD_WITHIN = 2.0  # seconds: so long a worker that stops waits for an acknowledgement


class LogEnd:
    """Appends behind the last entry that this worker has seen or written."""

    def __init__(self, log: TaskLog, entry: Entry) -> None:
        self._log = log
        self.entry = entry
        self.unsure = False  # nobody knows whether the last word was stored

    @property
    def last(self) -> ProgressEvent:
        """The event of the last entry."""
        return self.entry.event

    def know(self, facts: Facts) -> None:
        """Have what is appended from now on carry these facts."""
        self.entry = replace(self.entry, facts=facts)

    async def say(self, state: State, *, attempt: int, **fields: object) -> None:
        """Append an event (OvertakenError, TransientError)."""
        last = self.last
        event = ProgressEvent.model_validate(
            fields
            | {
                "task_id": last.task_id,
                "kind": last.kind,
                "state": state,
                "attempt": attempt,
                "max_attempts": last.max_attempts,
                "sequence": last.sequence + 1,
                "worker": self._log.worker,
                "time": datetime.now(UTC),
            }
        )
        append = asyncio.create_task(self._log.append(event, self.entry.facts, after=self.entry.stream_sequence))
        try:
            self.entry = await asyncio.shield(append)
        except asyncio.CancelledError:  # it may be stored already: what comes next must know what it follows
            await despite_cancellation(self._last_word(append))
            raise

    async def check(self) -> None:
        """Read whose the log is: segments and results have sequences of their own (OvertakenError, TransientError)."""
        last = await self._log.last(self.last.task_id)
        if last is None or last.stream_sequence != self.entry.stream_sequence:
            raise OvertakenError

    async def _last_word(self, append: asyncio.Task[Entry]) -> None:
        """Learn whether it was stored (OvertakenError)."""
        self.unsure = True
        with suppress(TransientError, TimeoutError):
            async with asyncio.timeout(LAST_WORD_WITHIN):
                self.entry = await append
                self.unsure = False
