"""Work sharing as one worker takes part in it: its inbox leads to its helper or to its coordinators."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Final
from uuid import uuid4

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.engines.engine import Engine
from app.settings import Settings, Share
from app.work_sharing.coordinator import Coordinator
from app.work_sharing.helper import Helper, way_of
from app.work_sharing.messages import Alive, Handed, Returned, Volunteered, decode
from schemas import subjects
from schemas.sharing import WindowsOffered
from schemas.wire import Model

LARGEST_MESSAGE_BYTES: Final = 960_000  # the longest window, and the line before it

log = structlog.get_logger()


class WorkSharing:
    """Offers windows of this worker's recordings, and helps with those of other workers."""

    def __init__(self, nats: Client, engine: Engine, settings: Settings) -> None:
        self._nats = nats
        self._engine = engine
        self._token = uuid4().hex
        cores = None if settings.share_windows is Share.ALWAYS else settings.engine_threads
        self._helper = Helper(engine, self._token, self._send, cores=cores)
        self._coordinators: dict[str, Coordinator] = {}  # by run
        self._on = settings.share_windows is not Share.NEVER and nats.max_payload >= LARGEST_MESSAGE_BYTES

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take part until the block ends."""
        inbox = await self._nats.subscribe(subjects.windows_inbox(self._token), cb=self._receive) if self._on else None
        try:
            yield
        finally:
            await self.stop_helping()
            if inbox is not None:
                with suppress(NatsError):
                    await inbox.unsubscribe()

    async def stop_helping(self) -> None:
        """Return what other workers have handed over, while they can still receive it."""
        await self._helper.close()

    def own_work(self) -> AbstractAsyncContextManager[None]:
        """While the block runs, help nobody."""
        return self._helper.own_work()

    async def consider(self, offer: WindowsOffered) -> None:
        """Help another worker, if that is of use."""
        if self._on:
            await self._helper.consider(offer)

    @asynccontextmanager
    async def coordination(self, model: Model) -> AsyncIterator[Coordinator | None]:
        """Find helpers for one run; None where nothing is shared."""
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
        with suppress(NatsError):  # a worker that receives nothing goes on alone
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
