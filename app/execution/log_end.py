"""The end of a task's log: what one worker appends there, as long as nobody else does."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from app.cancellation import despite_cancellation
from app.errors import FencedError, TransientError
from app.task_log.log import TaskLog
from app.task_log.record import Metadata, Record
from schemas.progress import ProgressEvent, State

LAST_WORD_WITHIN = 2.0  # seconds: so long a worker that stops waits for an acknowledgement


class LogEnd:
    """Appends behind the last record that this worker has seen or written."""

    def __init__(self, log: TaskLog, record: Record) -> None:
        self._log = log
        self.record = record
        self.unsure = False  # nobody knows whether the last word was stored

    @property
    def last(self) -> ProgressEvent:
        """The event of the last record."""
        return self.record.event

    def know(self, metadata: Metadata) -> None:
        """Have what is appended from now on carry these metadata."""
        self.record = replace(self.record, metadata=metadata)

    async def say(self, state: State, *, attempt: int, **fields: object) -> None:
        """Append an event (FencedError, TransientError)."""
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
        append = asyncio.create_task(self._log.append(event, self.record.metadata, after=self.record.stream_sequence))
        try:
            self.record = await asyncio.shield(append)
        except asyncio.CancelledError:  # it may be stored already: what comes next must know what it follows
            await despite_cancellation(self._last_word(append))
            raise

    async def check(self) -> None:
        """Read whose the log is: segments and results have sequences of their own (FencedError, TransientError)."""
        last = await self._log.last(self.last.task_id)
        if last is None or last.stream_sequence != self.record.stream_sequence:
            raise FencedError

    async def _last_word(self, append: asyncio.Task[Record]) -> None:
        """Learn whether it was stored (FencedError)."""
        self.unsure = True
        with suppress(TransientError, TimeoutError):
            async with asyncio.timeout(LAST_WORD_WITHIN):
                self.record = await append
                self.unsure = False
