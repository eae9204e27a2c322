"""Finds the recordings that waiting tasks need."""

import sys
from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Final

from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames

from app.queue.positions import WaitingTasks
from app.queue.stored_message import StoredMessage
from app.retention.reminders import token
from app.task_log.record import Owner

SPARE: Final = 10_000  # settled messages that may be remembered before all is read anew


class QueuedRecordings:
    """Remembers which recording each task message names, so that a message is read once and not at each question."""

    def __init__(self, nats: Client, names: StreamNames, waiting: WaitingTasks) -> None:
        self._js = nats.jetstream()
        self._stream = names.tasks
        self._waiting = waiting
        self._read_to = 0
        self._begin_anew(None)

    async def among(self, wanted: Collection[str], *, besides: Collection[Owner]) -> set[str]:
        """Return those of the wanted recordings that a task in the queues names, other than the tasks `besides`.

        Raises:
            NatsError: NATS does not answer.
        """
        await self._read_on()
        return {audio_file_id for audio_file_id in wanted if await self._is_named(audio_file_id, besides)}

    async def _is_named(self, audio_file_id: str, besides: Collection[Owner]) -> bool:
        places = self._places.get(token(audio_file_id), [])
        for subject, sequence in list(places):
            message = await self._waiting.held(subject, sequence)
            if message is None:  # a worker has settled it
                places.remove((subject, sequence))
            elif _names(message, audio_file_id) and not _is_any_of(message, besides):
                return True
        return False

    async def _read_on(self) -> None:
        """Read the messages that were stored since the last time; read all anew when most of them are settled."""
        stream = await self._js.stream_info(self._stream)
        if stream.created != self._created or self._count > 2 * stream.state.messages + SPARE:
            self._begin_anew(stream.created)
        async for messages in self._waiting.all_after(self._read_to):
            for message in messages:
                self._read_to = message.sequence
                self._count += 1
                if (task := message.task) is not None:
                    self._places[token(task.audio_file_id)].append((sys.intern(message.subject), message.sequence))

    def _begin_anew(self, created: datetime | None) -> None:
        self._created = created  # when the stream was made: a new one counts its messages from 1 again
        self._places = defaultdict[str, list[tuple[str, int]]](list)  # subject and sequence of messages
        self._count = 0
        self._read_to = 0


def _names(message: StoredMessage, audio_file_id: str) -> bool:
    task = message.task
    return task is not None and task.audio_file_id == audio_file_id  # another name may have the same token


def _is_any_of(message: StoredMessage, owners: Collection[Owner]) -> bool:
    owner = Owner(message.time, message.sequence)
    return any(owner.is_same_as(each) for each in owners)
