"""An index of the task queues: finds the task messages with a certain key, such as a task id or a recording."""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames

from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages

SPARE: Final = 10_000  # how many settled messages the index may hold before it is rebuilt


@dataclass(eq=False)
class QueueIndex:
    """Finds messages in the task queues by a key, such as the task id.

    To index the messages, each is read only once. The index holds hashes of the keys: each message takes 16 bytes of
    memory. `key`: returns the key of a message, or None if the message is not to be indexed.
    """

    nats: Client
    names: StreamNames
    messages: TaskMessages
    key: Callable[[StoredMessage], str | None]
    _updating: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _updates: int = field(default=0, init=False)  # that have ended without an error
    _created: datetime | None = field(default=None, init=False)  # of the stream: a new one counts from 1 again
    _read_to: int = field(default=0, init=False)
    _hashes: "array[int]" = field(default_factory=partial(array, "q"), init=False)
    _sequences: "array[int]" = field(default_factory=partial(array, "Q"), init=False)  # of the messages, ascending

    async def indexed(self, key: str) -> AsyncIterator[StoredMessage]:
        """Yield the indexed messages with the key `key` that are still in their queue.

        Unlike `find`, this does not update the index.

        Raises:
            NatsError: NATS does not answer.
        """
        hashes, sequences = self._hashes, self._sequences
        for sequence in list(_sequences_of(hash(key), hashes, sequences)):
            message = await self.messages.find(None, sequence)
            if message is None:  # a worker has settled the message
                _remove(sequence, hashes, sequences)
            elif self.key(message) == key:
                yield message

    async def find(self, key: str) -> list[StoredMessage]:
        """Return the messages with the key `key` that are in a queue.

        If the index has none, it is updated first. If the update is cancelled, the next call resumes it.

        Raises:
            NatsError: NATS does not answer.
        """
        messages = [message async for message in self.indexed(key)]
        if not messages:
            await self.update()
            messages = [message async for message in self.indexed(key)]
        return messages

    async def update(self) -> None:
        """Index the messages that were stored since the last update.

        If the task stream was recreated, or most of the indexed messages have left their queues, the index is rebuilt.
        Callers that arrive during an update wait for it, and then share the next update.

        Raises:
            NatsError: NATS does not answer.
        """
        # The update that runs now may have missed a new message; the one after it has not.
        needed = self._updates + (2 if self._updating.locked() else 1)
        async with self._updating:
            if self._updates < needed:
                await self._read()
                self._updates += 1

    async def _read(self) -> None:
        stream = await self.nats.jetstream().stream_info(self.names.tasks)
        if stream.created != self._created or len(self._hashes) > 2 * stream.state.messages + SPARE:
            self._created, self._read_to, self._hashes, self._sequences = stream.created, 0, array("q"), array("Q")
        async for messages in self.messages.pages_after(self._read_to):
            for message in messages:
                self._read_to = message.sequence
                key = self.key(message)
                if key is not None:
                    self._hashes.append(hash(key))
                    self._sequences.append(message.sequence)


def _sequences_of(key_hash: int, hashes: "array[int]", sequences: "array[int]") -> Iterator[int]:
    """Yield the stream sequences of the indexed messages whose key has the hash `key_hash`.

    `hashes`, `sequences`: for each message, the hash of its key and, at the same place, its stream sequence.
    """
    at = -1
    with suppress(ValueError):  # there are no more
        while True:
            at = hashes.index(key_hash, at + 1)
            yield sequences[at]


def _remove(sequence: int, hashes: "array[int]", sequences: "array[int]") -> None:
    at = bisect_left(sequences, sequence)
    if sequences[at : at + 1] == array("Q", [sequence]):
        del hashes[at], sequences[at]
