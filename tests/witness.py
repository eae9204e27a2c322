"""A plain core subscriber, and whether it sees what the streams hold."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.jetstream.stream_pages import pages

STREAMS = {
    "progress.*": "transcription_progress",
    "segments.*": "transcription_segments",
    "results.*": "transcription_results",
    "dead_letters.*": "transcription_dead_letters",
}
Seen = list[tuple[int, str, bytes]]  # stream sequence, subject, body


class Witness:
    """Has subscribed to all that the service publishes, with core NATS and a line each."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._seen: dict[str, Seen] = {pattern: [] for pattern in STREAMS}

    async def subscribe(self) -> None:
        for pattern, received in self._seen.items():

            async def note(message: Msg, received: Seen = received) -> None:
                received.append((int((message.headers or {})["Nats-Sequence"]), message.subject, message.data))

            await self._connection.subscribe(pattern, cb=note)
        await self._connection.flush()

    async def seen(self) -> dict[str, Seen]:
        """All messages until now, in the order in which they came."""
        await self._connection.flush()
        return {STREAMS[pattern]: received for pattern, received in self._seen.items()}

    async def agrees(self) -> bool:
        """Whether it has seen what the streams hold, message by message."""
        return await self.seen() == await self.stored()

    async def stored(self) -> dict[str, Seen]:
        """All messages that the streams hold, in their order."""
        messages: dict[str, Seen] = {}
        for pattern, stream in STREAMS.items():
            messages[stream] = [
                (message.seq or 0, message.subject or "", message.data or b"")
                async for page in pages(self._connection, stream, pattern)
                for message in page
            ]
        return messages


@asynccontextmanager
async def witness(nats_url: str) -> AsyncIterator[Witness]:
    """A witness from now on."""
    connection = await nats.connect(nats_url)
    listening = Witness(connection)
    await listening.subscribe()
    yield listening
    await connection.close()
