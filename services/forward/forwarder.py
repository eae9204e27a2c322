"""What one rule does with the events of the service."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import httpx2
from faststream.nats import NatsBroker, NatsMessage
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.faststream import Erased, ProgressEvent
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.stream_names import StreamNames

from services.forward.dead_letters import DeadLetter, DeadLetters
from services.forward.requests import Event, RefusedError, send
from services.forward.rules import Rule

ACK_WAIT_S = 30.0  # NATS delivers an event again after this time without a sign of life
log = logging.getLogger(__name__)


class Forwarder:
    """Sends the events of one rule, those of a task in order: its result, its end, its erasure.

    The result is read from its stream when the task has completed, so that it precedes the end. `client` is set before
    the first event arrives.
    """

    client: httpx2.AsyncClient

    def __init__(self, natscribe: NatsBroker, names: StreamNames, rule: Rule, letters: DeadLetters) -> None:
        self.rule = rule
        self._natscribe = natscribe
        self._names = names
        self._letters = letters
        self._tasks = WeakValueDictionary[str, asyncio.Lock]()

    async def ended(self, event: ProgressEvent, message: NatsMessage) -> None:
        """Send the result of a task that has ended, and its last progress event, as far as the rule wants them."""
        if self._wants(event):
            async with self._in_order(event.task_id, message):
                if "results" in self.rule.events and event.state is State.COMPLETED:
                    await self._send(self._names.results, subjects.results(event.task_id))
                if "progress" in self.rule.events:
                    await self._send(self._names.progress, subjects.progress(event.task_id), _sequence(message))
        await message.ack()

    async def erased(self, event: Erased, message: NatsMessage) -> None:
        """Send that the data of a task were erased; whose they were is not known after a user was deleted."""
        if self.rule.users is None or event.user_id is None or event.user_id in self.rule.users:
            async with self._in_order(event.task_id, message):
                await self._send(self._names.erased, subjects.erased(event.task_id), _sequence(message))
        await message.ack()

    async def send_again(self, letter: DeadLetter) -> bool:
        """Send the event of a dead letter; return whether it was sent, or was erased."""
        return await self._send(letter.stream, letter.subject, letter.sequence)

    def _wants(self, event: ProgressEvent) -> bool:
        return (
            event.state in self.rule.states
            and (self.rule.kinds is None or event.kind in self.rule.kinds)
            and (self.rule.users is None or event.user_id in self.rule.users)
        )

    @asynccontextmanager
    async def _in_order(self, task_id: str, message: NatsMessage) -> AsyncIterator[None]:
        """Wait until earlier events of the task are sent; NATS delivers the message to nobody else meanwhile."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(ACK_WAIT_S / 3)
                await message.in_progress()

        keeping = asyncio.create_task(keep())
        try:
            async with self._tasks.setdefault(task_id, asyncio.Lock()):
                yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _send(self, stream: str, subject: str, sequence: int | None = None) -> bool:
        """Send a stored event; if the receiver refuses it, store a dead letter, and return False.

        `sequence`: of the event in its stream; None: the last event of the subject.
        """

        async def read() -> Event | None:
            return await self._read(stream, subject, sequence)

        try:
            await send(self.client, self.rule, read)
        except RefusedError as error:
            log.warning("%s refuses %s: %s", self.rule.name, subject, error)
            await self._letters.store(DeadLetter(self.rule.name, stream, subject, sequence, str(error)))
            return False
        return True

    async def _read(self, stream: str, subject: str, sequence: int | None) -> Event | None:
        """Return a stored event, with the whole result if the rule allows its size; None: the event was erased."""
        js = (await self._natscribe.connect()).jetstream()
        try:
            if sequence is None:
                stored = await js.get_last_msg(stream, subject, direct=True)
            else:
                stored = await js.get_msg(stream, sequence, direct=True)
            body = stored.data or b""
            if stream == self._names.results:
                body = await self._whole(js, body)
        except NotFoundError:
            return None
        return Event(stored.headers or {}, body)

    async def _whole(self, js: JetStreamContext, body: bytes) -> bytes:
        """Return the whole result, from its object if it is too large for a message but not for the rule."""
        whole = json.loads(body)["object"]
        if whole is None or whole["size"] > self.rule.max_bytes:
            return body
        bucket = await js.object_store(whole["bucket"])
        return (await bucket.get(whole["name"])).data or b""


def _sequence(message: NatsMessage) -> int:
    sequence = message.raw_message.metadata.sequence.stream
    return int(sequence)
