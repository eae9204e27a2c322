"""An index of the queues: finds the task messages that have a given key, the task id for instance."""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from typing import Final

from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames

from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages

SPARE: Final = 10_000  # settled messages that may be remembered before all is read anew


class QueueIndex:
    """Remembers a key of each task message, so that a message is read once and not at each search.

    A key is remembered as its hash: each message needs 16 bytes of memory.
    """

    def __init__(
        self, nats: Client, names: StreamNames, messages: TaskMessages, key: Callable[[StoredMessage], str | None]
    ) -> None:
        """`key` returns the key of a message; None if the message has none."""
        self._js = nats.jetstream()
        self._stream = names.tasks
        self._messages = messages
        self._key = key
        self._reading = asyncio.Lock()
        self._begun = 0  # readings that have begun
        self._created: datetime | None = None  # when the stream was made: a new one counts its messages from 1 again
        self._read_to = 0
        self._hashes = array("q")
        self._sequences = array("Q")  # for each hash, the sequence of its message, in ascending order

    async def indexed(self, key: str) -> AsyncIterator[StoredMessage]:
        """Yield the messages with this key that were read by `update` and are still in their queue.

        Raises:
            NatsError: NATS does not answer.
        """
        hashes, sequences = self._hashes, self._sequences
        for sequence in list(_places(hashes, sequences, hash(key))):
            message = await self._messages.find(None, sequence)
            if message is None:  # a worker has settled it
                _forget(hashes, sequences, sequence)
            elif self._key(message) == key:
                yield message

    async def find(self, key: str) -> list[StoredMessage]:
        """Return what `indexed` yields for this key; if that is nothing, read the newest messages, and ask again.

        If this is cancelled, the next call goes on where this one was cancelled.

        Raises:
            NatsError: NATS does not answer.
        """
        known = [message async for message in self.indexed(key)]
        if known:
            return known
        await self.update()
        return [message async for message in self.indexed(key)]

    async def update(self) -> None:
        """Read the messages that were stored since the last call.

        If the stream was made anew, or most of the messages that were read are settled, forget them and read all again.

        Several callers share one reading, if it begins after their calls.

        Raises:
            NatsError: NATS does not answer.
        """
        mine = self._begun + 1
        async with self._reading:
            if self._begun < mine:
                self._begun = mine
                try:
                    await self._read()
                except BaseException:
                    self._begun = mine - 1  # those who wait read themselves
                    raise

    async def _read(self) -> None:
        stream = await self._js.stream_info(self._stream)
        if stream.created != self._created or len(self._hashes) > 2 * stream.state.messages + SPARE:
            self._created, self._read_to, self._hashes, self._sequences = stream.created, 0, array("q"), array("Q")
        async for messages in self._messages.pages_after(self._read_to):
            for message in messages:
                self._read_to = message.sequence
                key = self._key(message)
                if key is not None:
                    self._hashes.append(hash(key))
                    self._sequences.append(message.sequence)


def _places(hashes: "array[int]", sequences: "array[int]", wanted: int) -> Iterator[int]:
    """Yield the sequences of the messages whose key has the hash `wanted`."""
    at = 0
    while True:
        try:
            at = hashes.index(wanted, at)
        except ValueError:
            return
        yield sequences[at]
        at += 1


def _forget(hashes: "array[int]", sequences: "array[int]", sequence: int) -> None:
    at = bisect_left(sequences, sequence)
    if sequences[at : at + 1] == array("Q", [sequence]):
        del hashes[at], sequences[at]
