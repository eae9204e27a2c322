"""The coordinator: finds helpers for one run over a recording and sends them batches; the run survives a lost helper.

`WorkSharing` is the work sharing of one worker: its inbox receives the messages for its coordinators and its helper.
"""

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from uuid import uuid4

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.sharing import WindowsOffered
from natscribe.schemas.wire import Model

from app.cancellation import cancel_all
from app.engines.engine import Engine
from app.engines.messages import Transcribe, WindowSound, WindowsTranscribed, WindowTranscribed
from app.settings import Settings, Share
from app.work_sharing.helper import (
    LONGEST_BATCH_S,
    SHORTEST_BATCH_S,
    Alive,
    Handed,
    Helper,
    Returned,
    Send,
    Volunteered,
    decode,
    encode,
    way_of,
)

SILENT_FOR_S = 5.0  # a helper that sends nothing for this long is lost
SLOWER = 3  # a helper gets this many times the coordinator's own time for a batch: all texts behind the batch wait
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 30.0  # pause between two offers, which doubles while nobody volunteers
MOST_HELPERS = 8  # limits memory: the coordinator holds the batch of each helper until it is transcribed
_LONGEST_TEXT = 5000  # most characters in the text of a window
_ROUNDING_S = 0.002  # rounded times may lie outside of their window by this much
_LARGEST_MESSAGE_BYTES = 960_000  # the sound of the longest window, and the JSON line before it

log = structlog.get_logger()


class HelperLostError(Exception):
    """A helper does not transcribe its batch, so another transcriber must do it."""


class Coordinator:
    """Finds helpers for one run; close it when the run ends."""

    def __init__(self, offer: WindowsOffered, publish: Callable[[WindowsOffered], Awaitable[None]], send: Send) -> None:
        self._offer = offer
        self._publish = publish
        self._send = send
        self._wanted = asyncio.Event()
        self._came = asyncio.Event()
        self._joined: asyncio.Queue[RemoteHelper] = asyncio.Queue()
        self._helpers: set[str] = set()
        self.handed: dict[str, RemoteHelper] = {}  # the helper of each batch, by the batch's id
        self.longest_s = LONGEST_BATCH_S  # the time that a helper gets for a batch
        self._offers = asyncio.create_task(self._offer_repeatedly())

    def update(self, *, wanted: bool, batch_seconds: float) -> None:
        """Set whether more helpers are wanted, and how many seconds this worker's own engine needs for a batch."""
        self.longest_s = min(max(SLOWER * batch_seconds, SHORTEST_BATCH_S), LONGEST_BATCH_S)
        if wanted and len(self._helpers) < MOST_HELPERS:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def next_helper(self) -> Callable[[Transcribe], Coroutine[None, None, WindowsTranscribed]]:
        """Wait for the next helper, and return the function with which this helper transcribes a batch."""
        return (await self._joined.get()).transcribe

    def add(self, helper: str) -> None:
        """Add a worker that has volunteered, unless there are enough helpers."""
        if helper not in self._helpers and len(self._helpers) < MOST_HELPERS:
            self._helpers.add(helper)
            self._came.set()
            self._joined.put_nowait(RemoteHelper(self, helper, self._offer, self._send))

    def remove(self, helper: str) -> None:
        """Remove a helper, which may volunteer again."""
        self._helpers.discard(helper)

    def receive(self, line: Alive | Returned) -> None:
        """Pass a message about a batch to the `RemoteHelper` that waits for it."""
        if helper := self.handed.get(line.batch):
            helper.receive(line)

    async def close(self) -> None:
        """Stop looking for helpers."""
        await cancel_all([self._offers])

    async def _offer_repeatedly(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            await self._wanted.wait()
            self._came.clear()
            await self._publish(self._offer)
            await asyncio.sleep(pause)
            pause = FIRST_PAUSE_S if self._came.is_set() else min(2 * pause, LONGEST_PAUSE_S)


class RemoteHelper:
    """The coordinator's side of a helper, which is the engine of another worker."""

    def __init__(self, coordinator: Coordinator, helper: str, offer: WindowsOffered, send: Send) -> None:
        self._coordinator = coordinator
        self._helper = helper
        self._offer = offer
        self._send = send
        self._received: asyncio.Queue[Alive | Returned] = asyncio.Queue()
        self._goes_on = True

    def receive(self, line: Alive | Returned) -> None:
        """Receive a message of the helper about its batch."""
        self._received.put_nowait(line)

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        """Send a batch to the helper, and return the helper's answer.

        Raises:
            HelperLostError: The helper is silent, slow or stopped, or its answer does not fit the batch.
        """
        if not self._goes_on:
            raise HelperLostError
        batch = uuid4().hex
        self._coordinator.handed[batch] = self
        found = None
        limit = asyncio.timeout(self._coordinator.longest_s)
        try:
            async with limit:
                await self._hand(job, batch)
                found = await self._answer(batch)
        except TimeoutError:
            log.warning("helper_lost")
        finally:
            del self._coordinator.handed[batch]
            # A helper that was too slow stays in the list, so that it cannot volunteer again.
            if not limit.expired() and (found is None or not self._goes_on):
                self._coordinator.remove(self._helper)
        if found is None:
            raise HelperLostError
        if not _is_answer(found, job, self._offer):  # it stays in the list too, so that it cannot volunteer again
            log.warning("helper_answer_rejected")
            raise HelperLostError
        return found

    async def _hand(self, job: Transcribe, batch: str) -> None:
        for number, window in enumerate(job.windows):
            handed = Handed(
                run=self._offer.run,
                owner=self._offer.owner,
                batch=batch,
                number=number,
                of=len(job.windows),
                pieces=window.pieces,
                options=job.options,
                previous=job.previous,
            )
            await self._send(self._helper, encode(handed, b64decode(window.samples)))

    async def _answer(self, batch: str) -> WindowsTranscribed | None:
        while True:
            async with asyncio.timeout(SILENT_FOR_S):
                line = await self._received.get()
            if isinstance(line, Returned) and line.batch == batch:
                self._goes_on = line.more
                return line.found


class WorkSharing:
    """Offers windows of this worker's recordings, and helps with those of other workers."""

    def __init__(self, nats: Client, engine: Engine, settings: Settings) -> None:
        self._nats = nats
        self._engine = engine
        self._token = uuid4().hex
        cores = None if settings.share_windows is Share.ALWAYS else settings.engine_threads
        self._helper = Helper(engine, self._token, self._send, cores=cores)
        self._coordinators: dict[str, Coordinator] = {}  # the coordinator of each run, by the run's id
        self._on = settings.share_windows is not Share.NEVER and nats.max_payload >= _LARGEST_MESSAGE_BYTES

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take part in work sharing until the body of the `async with` ends."""
        inbox = await self._nats.subscribe(subjects.windows_inbox(self._token), cb=self._receive) if self._on else None
        try:
            yield
        finally:
            await self.stop_helping()
            if inbox is not None:
                with suppress(NatsError):
                    await inbox.unsubscribe()

    async def stop_helping(self) -> None:
        """Stop helping, and return the batch to its coordinator; call this before the NATS connection closes."""
        await self._helper.close()

    def own_work(self) -> AbstractAsyncContextManager[None]:
        """While the block runs, do not help other workers."""
        return self._helper.own_work()

    async def consider(self, offer: WindowsOffered) -> None:
        """Answer another worker's offer if this worker can help."""
        if self._on:
            await self._helper.consider(offer)

    @asynccontextmanager
    async def coordination(self, model: Model) -> AsyncIterator[Coordinator | None]:
        """Provide the coordinator of one run; None if work sharing is off."""
        if not self._on:
            yield None
            return
        how = way_of(self._engine)
        offer = WindowsOffered(run=uuid4().hex, owner=self._token, model=model, how=how)
        coordinator = Coordinator(offer, self._publish, self._send)
        self._coordinators[offer.run] = coordinator
        try:
            yield coordinator
        finally:
            del self._coordinators[offer.run]
            await coordinator.close()

    async def _publish(self, offer: WindowsOffered) -> None:
        with suppress(NatsError):
            await self._nats.publish(subjects.WINDOWS_OFFERED, offer.model_dump_json().encode())

    async def _send(self, worker: str, body: bytes) -> None:
        with suppress(NatsError):  # the other worker goes on without the message
            await self._nats.publish(subjects.windows_inbox(worker), body)

    async def _receive(self, message: Msg) -> None:
        try:
            line, sound = decode(message.data)
        except ValueError:
            log.warning("windows_inbox_message_rejected")
            return
        match line:
            case Handed():
                await self._helper.receive(line, sound)
            case Volunteered():
                if coordinator := self._coordinators.get(line.run):
                    coordinator.add(line.helper)
            case Alive() | Returned():
                for coordinator in self._coordinators.values():
                    coordinator.receive(line)


def _is_answer(answer: WindowsTranscribed, job: Transcribe, offer: WindowsOffered) -> bool:
    """Whether an answer fits its batch: the model, the language, and the times and lengths of texts are possible."""
    return (
        answer.model == offer.model
        and len(answer.found) == len(job.windows)
        and all(_lies_in(window, found) for window, found in zip(job.windows, answer.found, strict=True))
        and (job.options.language is None or _languages(answer) <= {None, job.options.language})
    )


def _languages(answer: WindowsTranscribed) -> set[str | None]:
    return {segment.language for found in answer.found for segment in found.segments}


def _lies_in(window: WindowSound, found: WindowTranscribed) -> bool:
    first, last = window.pieces[0][0] - _ROUNDING_S, window.end + _ROUNDING_S
    times = [(segment.start, segment.end) for segment in found.segments]
    times += [(word.start, word.end) for segment in found.segments for word in segment.words or ()]
    times += [(stretch.start, stretch.end) for stretch in found.untranscribed]
    return (
        all(first <= start <= end <= last for start, end in times)
        and sum(len(segment.text) for segment in found.segments) <= _LONGEST_TEXT
        and all(segment.words for segment in found.segments)
    )
