"""Stores the speakers of a live task: changes as events on `speakers.<task_id>`, and the state to resume from."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog
from nats.errors import Error as NatsError
from natscribe.schemas.live import LiveTask, SpeakerChanges, SpeakersEvent

from app.runtime.errors import BucketFullError
from app.speech.updates import Checkpoint
from app.storage.jetstream.records import UnreadableError
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record
from app.tasks.task_log.results import ResultStore

STATE_TIMEOUT_S: Final = 1.0  # how long the text of a live task waits until the state of its speakers is stored

log = structlog.get_logger()


@dataclass(slots=True)
class SpeakerLog:
    """Stores and reads what one attempt at a live task detects about speakers: speaker events, and a state.

    The state of diarization lets another worker that continues the task recognize the speakers. For any task other than
    a live task with `diarize`, `resume` returns the checkpoint unchanged, and `delete_state` does nothing.
    """

    _log: TaskLog
    _results: ResultStore
    _events: int = 0  # of this task
    _after: int = 0  # stream sequence of the last event that this attempt has read or appended

    async def resume(self, checkpoint: Checkpoint, last: Record) -> Checkpoint:
        """Return the checkpoint of a live task, with the stored speaker events and the stored state of the speakers.

        With the state, this attempt recognizes the speakers of earlier attempts, which keep their labels; without it,
        all speakers get new labels. Return the checkpoint of any other task unchanged. `last`: the last record of the
        task's log.

        Raises:
            TransientError: JetStream does not reply.
        """
        if not has_live_speakers(last):
            return checkpoint
        task_id, owner, state = last.event.task_id, last.metadata.owner, None
        stored = [message async for message in self._log.speakers(task_id)]
        own = tuple(message.event for message in stored if message.metadata.owner.is_same_as(owner))
        self._events, self._after = len(own), stored[-1].stream_sequence if stored else 0
        if stored and not own:  # of an earlier run, which a replay starts over, or of an earlier task with this id
            await self.clean_up(task_id)
            self._after = 0
        with suppress(NatsError, UnreadableError):  # without it, the speakers get new labels
            state = await self._results.embeddings.find(task_id, of=owner, is_live=True)
        return replace(checkpoint, speaker_changes=own, speaker_state=state.decode() if state else "")

    async def store_state(self, state: str, last: Record) -> None:
        """Store the state of diarization, with which another worker that continues the task recognizes the speakers.

        It replaces the state stored before. If storing it fails, or takes longer than STATE_TIMEOUT_S, only log a
        warning. `last`: the last record of the task's progress log, which says to which task message the state belongs.
        """
        try:
            async with asyncio.timeout(STATE_TIMEOUT_S):
                await self._results.embeddings.put(state.encode(), last, is_live=True)
        except (NatsError, BucketFullError, TimeoutError) as error:
            log.warning("speaker_state_not_stored", error=type(error).__name__)

    async def append(self, changes: SpeakerChanges, last: Record) -> None:
        """Append changes of speakers as an event on `speakers.<task_id>`; `last`: the last record of the task's log.

        Raises:
            FencedError: Another writer has appended an event.
            TransientError: JetStream does not reply.
        """
        event = SpeakersEvent(task_id=last.event.task_id, sequence=self._events + 1, **dict(changes))
        self._after = await self._log.append_speakers(event, last.metadata, after=self._after)
        self._events += 1

    async def delete_state(self, last: Record) -> None:
        """Delete the stored state of the speakers of a completed task, because no worker will continue the task.

        `last`: the last record of the task's log.
        """
        if has_live_speakers(last):
            with suppress(NatsError):  # the bucket expires it
                await self._results.embeddings.purge(last.event.task_id, is_live=True)

    async def clean_up(self, task_id: str) -> None:
        """Delete the speaker events of a deleted task, up to the last one that this attempt has read or appended.

        Later events are kept, because they may belong to a later task with the same id.
        """
        if self._after:
            await self._log.purge_speakers(task_id, up_to=self._after)


def has_live_speakers(last: Record) -> bool:
    """Return whether a task is live and detects speakers; `last`: the last record of its log."""
    task = last.metadata.task
    return isinstance(task, LiveTask) and task.diarize
