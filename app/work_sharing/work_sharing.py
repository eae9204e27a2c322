"""Sharing as one worker takes part in it: what it is told goes to its helper or to its lenders."""

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
from app.work_sharing.coordinator import Lender
from app.work_sharing.helper import Helper, way_of
from app.work_sharing.messages import Alive, Lent, Returned, Volunteered, decode
from schemas import subjects
from schemas.sharing import WindowsOffered
from schemas.wire import Model

LARGEST_MESSAGE: Final = 960_000  # bytes: the longest window, and what is said of it

log = structlog.get_logger()


class Sharing:
    """Offers windows of this worker's recordings, and helps with those of others."""

    def __init__(self, nats: Client, engine: Engine, settings: Settings) -> None:
        self._nats = nats
        self._engine = engine
        self._token = uuid4().hex
        cores = None if settings.share_windows is Share.ALWAYS else settings.engine_threads
        self._helper = Helper(engine, self._token, self._send, cores=cores)
        self._lenders: dict[str, Lender] = {}  # by run
        self._on = settings.share_windows is not Share.NEVER and nats.max_payload >= LARGEST_MESSAGE

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Take part until the block ends."""
        inbox = await self._nats.subscribe(subjects.windows_inbox(self._token), cb=self._told) if self._on else None
        try:
            yield
        finally:
            await self.stop_helping()
            if inbox is not None:
                with suppress(NatsError):
                    await inbox.unsubscribe()

    async def stop_helping(self) -> None:
        """Give back what others lent, while they can still be told."""
        await self._helper.close()

    def own_work(self) -> AbstractAsyncContextManager[None]:
        """While the block runs, others are not helped."""
        return self._helper.own_work()

    async def offered(self, offer: WindowsOffered) -> None:
        """Another worker asks for help."""
        if self._on:
            await self._helper.offered(offer)

    @asynccontextmanager
    async def lending(self, model: Model) -> AsyncIterator[Lender | None]:
        """Find helpers for one run; None where nothing is shared."""
        if not self._on:
            yield None
            return
        how = way_of(self._engine)
        offer = WindowsOffered(run=uuid4().hex, owner=self._token, model=model, how=how)
        lender = Lender(offer, self._say, self._send)
        self._lenders[offer.run] = lender
        try:
            yield lender
        finally:
            del self._lenders[offer.run]
            await lender.close()

    async def _say(self, offer: WindowsOffered) -> None:
        with suppress(NatsError):
            await self._nats.publish(subjects.WINDOWS_OFFERED, offer.model_dump_json().encode())

    async def _send(self, worker: str, body: bytes) -> None:
        with suppress(NatsError):  # who hears nothing gives up
            await self._nats.publish(subjects.windows_inbox(worker), body)

    async def _told(self, message: Msg) -> None:
        try:
            line, sound = decode(message.data)
        except ValueError:
            log.warning("windows_inbox_not_understood")
            return
        match line:
            case Lent():
                await self._helper.lent(line, sound)
            case Volunteered():
                if lender := self._lenders.get(line.run):
                    lender.volunteered(line.helper)
            case Alive() | Returned():
                for lender in self._lenders.values():
                    if loan := lender.loans.get(line.batch):
                        loan.say(line)
