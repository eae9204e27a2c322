"""The slot: one task at a time, asked for only when the slot is free, the high lanes first."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

import structlog
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError

from handlers.channels import Lanes, StreamNames
from schemas import subjects
from schemas.wire import Kind, Priority

ANSWER_WITHIN = 2.0  # seconds
LAST_WORD_WITHIN = 6.0  # seconds
LOOK_EVERY = 1.0  # seconds: what is delivered again is announced by nobody
NEXT = "$JS.API.CONSUMER.MSG.NEXT"
NOTHING_WAITS = {"404", "408"}
ONE_NOW = json.dumps({"batch": 1, "no_wait": True}).encode()

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
        self._lanes = [
            [_Lane(f"{NEXT}.{names.tasks}.{names.lane(kind, priority)}", lanes[kind, priority]) for kind in Kind]
            for priority in Priority
        ]
        self._nats: Client | None = None
        self._inbox: Subscription | None = None
        self._woken = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    def take_lanes(self) -> None:
        """Keep FastStream from pulling by itself; call before the broker starts."""
        for lane in chain(*self._lanes):
            lane.subscriber.subscription = _NoPullLoop()  # type: ignore[assignment]  # only unsubscribe() is called

    async def start(self, nats: Client) -> None:
        """Begin to ask; call after the broker has started."""
        self._nats = nats
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
        for lanes in self._lanes:
            for lane in tuple(lanes):
                if self._stopping:
                    return False
                message = await self._ask(lane.next_message)
                if message is not None:
                    lanes.append(lanes.pop(lanes.index(lane)))  # the other kind goes first next time
                    await lane.subscriber.consume(message)
                    return True
        return False

    async def _ask(self, next_message: str) -> Msg | None:
        """Ask one lane for one message; a delivered message keeps its subject, so each asks through the inbox."""
        if self._nats is None:
            return None
        if self._inbox is None:
            self._inbox = await self._nats.subscribe(self._nats.new_inbox())
        try:
            await self._nats.publish(next_message, ONE_NOW, reply=self._inbox.subject)
            answer = await self._inbox.next_msg(timeout=ANSWER_WITHIN)
        except NatsTimeoutError:
            await self._forget_inbox()
            raise
        if answer.reply:
            return answer
        status = (answer.headers or {}).get("Status")
        if status not in NOTHING_WAITS:
            message = f"the lane's consumer answers with status {status}"
            raise NatsError(message)
        return None

    async def _forget_inbox(self) -> None:
        """Let a late answer go nowhere: the queue delivers it again after TASK_ACK_WAIT."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with suppress(NatsError):
                await inbox.unsubscribe()
