"""The slot: one task at a time, asked for only when the slot is free, the high lanes first."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import structlog
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.precedence import Precedence
from app.pulling import Puller
from handlers.channels import Lanes, StreamNames
from schemas import subjects

LAST_WORD_WITHIN = 6.0  # seconds
LOOK_EVERY = 1.0  # seconds: what is delivered again is announced by nobody
NEXT = "$JS.API.CONSUMER.MSG.NEXT"

log = structlog.get_logger()


class _NoPullLoop:
    """Stands where FastStream keeps a pull subscription, so that it starts no loop of its own."""

    async def unsubscribe(self) -> None:
        """There is nothing to end."""


class _Lane(NamedTuple):
    next_message: str  # the subject that asks for it
    subscriber: PullStreamSubscriber


class Slot:
    """Asks the lanes in order whenever it is free, and works on what it gets."""

    def __init__(self, lanes: Lanes, names: StreamNames, broken: Callable[[], None]) -> None:
        self._broken = broken
        self._lanes = {
            key: _Lane(f"{NEXT}.{names.tasks}.{names.lane(*key)}", subscriber) for key, subscriber in lanes.items()
        }
        self._precedence = Precedence()
        self._puller: Puller | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    def take_lanes(self) -> None:
        """Keep FastStream from pulling by itself; call before the broker starts."""
        for lane in self._lanes.values():
            lane.subscriber.subscription = _NoPullLoop()  # type: ignore[assignment]  # only unsubscribe() is called

    async def start(self, nats: Client) -> None:
        """Begin to ask; call after the broker has started."""
        self._puller = Puller(nats)
        await nats.subscribe(subjects.ALL_ACCEPTED, cb=self._wake)
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def stop(self, *, grace: float) -> None:
        """Ask for nothing more, give the running task `grace` seconds, then give it back."""
        self._stopping = True
        self._woken.set()
        if self._loop is None:
            return
        _, unfinished = await asyncio.wait([self._loop], timeout=grace)
        if unfinished:
            self._loop.cancel()
            await asyncio.wait([self._loop], timeout=LAST_WORD_WITHIN)

    @property
    def started(self) -> bool:
        """Whether the slot was started, whatever became of it since."""
        return self._loop is not None

    @property
    def running(self) -> bool:
        """Whether the slot asks and works."""
        return self._loop is not None and not self._loop.done()

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """End the worker loudly rather than have it live on without working."""
        if not self._stopping:
            error = None if loop.cancelled() else loop.exception()
            log.critical("slot_broken", exc_info=error)
            self._broken()

    async def _wake(self, _: Msg) -> None:
        self._woken.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            try:
                worked = await self._serve_one()
            except NatsError as error:
                log.warning("lanes_unreachable", error=str(error) or type(error).__name__)
                worked = False
            if not worked and not self._stopping:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._woken.wait()

    async def _serve_one(self) -> bool:
        for priority, kinds in self._precedence.order():
            for kind in kinds:
                if self._stopping or self._puller is None:
                    return False
                lane = self._lanes[kind, priority]
                message = await self._puller.pull(lane.next_message)
                if message is not None:
                    self._precedence.served(priority, kind)
                    await lane.subscriber.consume(message)
                    return True
            self._precedence.found_empty(priority)
        return False
