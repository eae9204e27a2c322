"""Group commit: what is published to a stream in the same moment is stored as one atomic batch.

Each message that is stored by itself costs the server a write to the disk of its own; a batch costs one in all. How
batches are published: NATS' ADR-50.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError

FEWEST: Final = 16  # messages: with fewer of them a batch costs the server more than they do one by one
MOST: Final = 1000  # messages, as the server says
MOMENT: Final = 0.001  # seconds
OF_A_BATCH: Final = 150  # bytes: what the headers of a batch add to a message
LARGEST: Final = 1024 * 1024  # bytes: what is larger is worth a write of its own
STORED_WITHIN: Final = 5.0  # seconds, as for a message by itself

WRONG_LAST_SEQUENCE: Final = 10071  # err_code of nats-server: somebody else has appended
NO_BATCHES: Final = {10174, 10177}  # a stream made without them; a server that refuses message ids in them


@dataclass(frozen=True, slots=True)
class _Message:
    subject: str
    payload: bytes
    headers: dict[str, str]
    stored: asyncio.Future[int | None]  # its stream sequence; null: it is to be published by itself

    @property
    def size(self) -> int:
        """About how many bytes it has in a batch."""
        return len(self.payload) + sum(len(name) + len(value) + 4 for name, value in self.headers.items()) + OF_A_BATCH

    def decide(self, stored: int | None) -> None:
        if not self.stored.done():  # who published it may be cancelled
            self.stored.set_result(stored)


class GroupCommit:
    """Publishes to one stream; whatever a batch cannot do, single messages do."""

    def __init__(self, nats: Client, stream: str) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._stream = stream
        self._takes_batches = True  # as far as anybody knows
        self._waiting: list[_Message] = []

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        """Publish a message with its expectations; its stream sequence (as JetStream's own `publish` raises)."""
        message = _Message(subject, payload, headers, asyncio.get_running_loop().create_future())
        self._waiting.append(message)
        if len(self._waiting) == 1:
            await self._commit()
        stored = await message.stored
        if stored is not None:
            return stored
        return (await self._js.publish(subject, payload, stream=self._stream, headers=dict(headers))).seq

    async def _commit(self) -> None:
        """Let all who are about to publish join, then store what there is."""
        messages = self._waiting
        try:
            try:
                await self._gather()
            finally:
                self._waiting = []
            await self._store(messages)
        finally:  # cancelled, too: then the others publish by themselves
            for message in messages:
                message.decide(None)

    async def _gather(self) -> None:
        """Whoever is about to publish joins; as long as some do, others may be a moment behind."""
        await asyncio.sleep(0)
        joined = 1
        while joined < len(self._waiting) < MOST:
            joined = len(self._waiting)
            await asyncio.sleep(MOMENT)

    async def _store(self, messages: list[_Message]) -> None:
        """Decide what a batch can decide: where it pays, and is taken."""
        wanted = [message for message in messages if not message.stored.done()]
        if not self._takes_batches or len(wanted) < FEWEST or not self._are_small(wanted):
            return
        try:
            last = await self._publish_batch(wanted)
        except APIError as refused:
            self._takes_batches = refused.err_code not in NO_BATCHES
            if refused.err_code == WRONG_LAST_SEQUENCE:  # of one of them, and the server does not say which
                await self._store(wanted[: len(wanted) // 2])
                await self._store(wanted[len(wanted) // 2 :])
        except NatsError:  # it may be stored all the same: whoever publishes by himself will see
            return
        else:
            for sequence, message in enumerate(wanted, last - len(wanted) + 1):
                message.decide(sequence)

    def _are_small(self, messages: list[_Message]) -> bool:
        sizes = [message.size for message in messages]
        return len(messages) <= MOST and sum(sizes) <= LARGEST and max(sizes) <= self._nats.max_payload

    async def _publish_batch(self, messages: list[_Message]) -> int:
        """The stream sequence of the last (APIError where none is stored, NatsError where that is not known)."""
        named = {"Nats-Expected-Stream": self._stream, "Nats-Batch-Id": uuid4().hex}
        for number, message in enumerate(messages[:-1], 1):
            headers = message.headers | named | {"Nats-Batch-Sequence": str(number)}
            await self._nats.publish(message.subject, message.payload, headers=headers)
        last = messages[-1]
        headers = last.headers | named | {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
        answer = await self._nats.request(last.subject, last.payload, headers=headers, timeout=STORED_WITHIN)
        ack = json.loads(answer.data)
        if "error" in ack:
            raise APIError.from_error(ack["error"])
        if ack.get("batch") != named["Nats-Batch-Id"]:  # nats-server before 2.12: it has taken them one by one
            self._takes_batches = False
            raise NatsError
        return int(ack["seq"])
