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
MOST: Final = 500  # messages; the server takes 1000
LARGEST: Final = 1024 * 1024  # bytes: what is larger is worth a write of its own
STORED_WITHIN: Final = 5.0  # seconds, as for a message by itself

WRONG_LAST_SEQUENCE: Final = 10071  # err_code of nats-server: somebody else has appended
NO_BATCHES: Final = {10174, 10177}  # a stream made without them; a server that refuses message ids in them


@dataclass(frozen=True, slots=True)
class _Message:
    subject: str
    payload: bytes
    headers: dict[str, str]


class _Group:
    """Messages of one moment, and where the stream has put them."""

    def __init__(self) -> None:
        self.messages: list[_Message] = []
        self.stored: list[int | None] = []  # stream sequences; null: to be published by itself
        self.decided = asyncio.Event()

    def place(self, message: _Message) -> int:
        self.messages.append(message)
        return len(self.messages) - 1


class GroupCommit:
    """Publishes to one stream; whatever a batch cannot do, single messages do."""

    def __init__(self, nats: Client, stream: str) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._stream = stream
        self._takes_batches = True  # as far as anybody knows
        self._open: _Group | None = None  # which whoever publishes now belongs to

    async def publish(self, subject: str, payload: bytes, headers: dict[str, str]) -> int:
        """Publish a message with its expectations; its stream sequence (as JetStream's own `publish` raises)."""
        group = self._open or _Group()
        place = group.place(_Message(subject, payload, headers))
        self._open = group if len(group.messages) < MOST else None
        if place == 0:
            await self._decide(group)
        else:
            await group.decided.wait()
        stored = group.stored[place] if group.stored else None
        if stored is not None:
            return stored
        return (await self._js.publish(subject, payload, stream=self._stream, headers=dict(headers))).seq

    async def _decide(self, group: _Group) -> None:
        """Let all who are about to publish join, then store what there is."""
        try:
            await asyncio.sleep(0)
            self._close(group)
            group.stored = await self._store(group.messages)
        finally:  # cancelled, too: then the others publish by themselves
            self._close(group)
            group.decided.set()

    def _close(self, group: _Group) -> None:
        if self._open is group:
            self._open = None

    async def _store(self, messages: list[_Message]) -> list[int | None]:
        """The stream sequence of each, None where a batch does not pay or is not taken."""
        by_themselves: list[int | None] = [None] * len(messages)
        if not self._takes_batches or not _pays(messages):
            return by_themselves
        try:
            last = await self._publish_batch(messages)
        except APIError as refused:
            self._takes_batches = refused.err_code not in NO_BATCHES
            if refused.err_code != WRONG_LAST_SEQUENCE:
                return by_themselves
        except NatsError:  # it may be stored all the same: whoever publishes by himself will see
            return by_themselves
        else:
            return list(range(last - len(messages) + 1, last + 1))
        half = len(messages) // 2  # one of them is not welcome, and the server does not say which
        return await self._store(messages[:half]) + await self._store(messages[half:])

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


def _pays(messages: list[_Message]) -> bool:
    return len(messages) >= FEWEST and sum(len(message.payload) for message in messages) <= LARGEST
