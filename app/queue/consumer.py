"""The consumer: works on what it gets, and asks for more only when it is free, the high lanes first."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import structlog
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.cancellation import cancel_all
from app.queue.precedence import Precedence
from app.queue.pulling import Puller
from schemas import subjects
from schemas.stream_names import StreamNames
from schemas.wire import Kind, Priority

LOOK_EVERY = 1.0  # seconds: what is delivered again is announced by nobody, and an announcement may be lost
LONG, LONG_WITH_ANY = 1.0, 30.0  # seconds
AGAIN_AFTER = 0.05  # seconds: what another consumer has looked at and given back is announced by nobody, either
GIVEN_BACK_WITHIN = 6.0  # seconds: what is said last needs NATS
CANCEL_AGAIN_AFTER = 0.5  # seconds: a task that is told to stop twice is given back once

log = structlog.get_logger()


TaskSubscribers = dict[tuple[Kind, Priority], PullStreamSubscriber]


class _NoPullLoop:
    """Stands where FastStream keeps a pull subscription, so that it starts no loop of its own."""

    async def unsubscribe(self) -> None:
        """There is nothing to end."""


class _Lane(NamedTuple):
    puller: Puller
    subscriber: PullStreamSubscriber


class TaskConsumer:
    """Asks the lanes in order whenever it is free, and works on what it gets.

    Lanes that were found empty are asked again when a task is announced for them: no time goes by with the others then.
    """

    def __init__(
        self,
        lanes: TaskSubscribers,
        names: StreamNames,
        broken: Callable[[], None],
        *,
        reached: Callable[[], None] = lambda: None,
        lookahead: int = 1,
    ) -> None:
        """`broken` is told that it works no more, `reached` that the lanes answer after they did not."""
        self._broken = broken
        self._reached = reached
        self._unreachable = False
        self._names = names
        self._lookahead = lookahead
        self._subscribers = lanes
        self._lanes: dict[tuple[Kind, Priority], _Lane] = {}
        self._subjects = {subjects.accepted_in(*key): key for key in lanes}
        self._hopeful: set[tuple[Kind, Priority]] = set()  # lanes that may hold something
        self._look_at = 0.0  # when all of them may, by the event loop's clock
        self._precedence = Precedence()
        self._woken = asyncio.Event()
        self._stopping = False
        self._working_since: float | None = None  # by the event loop's clock; null: there is nothing to do
        self._occupied_since: float | None = None  # when it last found nothing to do
        self._loop: asyncio.Task[None] | None = None

    def replace_pull_loops(self) -> None:
        """Keep FastStream from pulling by itself; call before the broker starts."""
        for subscriber in self._subscribers.values():
            subscriber.subscription = _NoPullLoop()  # type: ignore[assignment]  # only unsubscribe() is called

    async def start(self, nats: Client) -> None:
        """Begin to ask; call after the broker has started."""
        for key, subscriber in self._subscribers.items():
            puller = Puller(nats, self._names.tasks, self._names.queue_consumer(*key), self._lookahead)
            self._lanes[key] = _Lane(puller, subscriber)
        await nats.subscribe(subjects.ALL_ACCEPTED, cb=self._wake)
        self._look_everywhere(LOOK_EVERY)
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def stop(self, *, grace: float) -> None:
        """Ask for nothing more, give the running task `grace` seconds, then give it back."""
        self._stopping = True
        self._woken.set()
        if self._loop is None:
            return
        await asyncio.wait([self._loop], timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVEN_BACK_WITHIN):
                await cancel_all([self._loop], again_after=CANCEL_AGAIN_AFTER)

    @property
    def started(self) -> bool:
        """Whether the consumer was started, whatever became of it since."""
        return self._loop is not None

    @property
    def running(self) -> bool:
        """Whether the consumer asks and works."""
        return self._loop is not None and not self._loop.done()

    @property
    def idle(self) -> bool:
        """Whether it would begin at once with what is published now."""
        return self.running and self._working_since is None

    @property
    def keeps_waiting(self) -> bool:
        """Whether tasks have to wait for it: it is busy with the same one, or has had something to do for long."""
        now = asyncio.get_running_loop().time()
        with_this, with_any = (now - (since or now) for since in (self._working_since, self._occupied_since))
        return with_this >= LONG or with_any >= LONG_WITH_ANY

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """End the worker loudly rather than have it live on without working."""
        if not self._stopping:
            log.critical("consumer_broken", exc_info=None if loop.cancelled() else loop.exception())
            self._broken()

    async def _wake(self, announced: Msg) -> None:
        lane = self._subjects.get(announced.subject)
        if lane is not None:
            self._hopeful.add(lane)
            self._woken.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            hopeful, self._hopeful = self._hopeful, set()
            try:
                worked = await self._serve(hopeful)
            except NatsError as error:
                log.warning("lanes_unreachable", error=str(error) or type(error).__name__)
                self._hopeful, worked, self._unreachable = set(self._lanes), False, True
            self._working_since = None
            if worked:
                self._hopeful |= hopeful
                if asyncio.get_running_loop().time() >= self._look_at:
                    self._look_everywhere(self._soon)
                continue
            self._occupied_since = None
            if not self._stopping:
                await self._rest()

    @property
    def _soon(self) -> float:
        """When to look again though nothing was there a moment ago, in seconds."""
        return LOOK_EVERY if self._lookahead == 1 else AGAIN_AFTER

    def _look_everywhere(self, again_after: float) -> None:
        self._hopeful = set(self._lanes)
        self._look_at = asyncio.get_running_loop().time() + again_after

    async def _rest(self) -> None:
        """Wait for an announcement, or until it is time to look without one."""
        try:
            async with asyncio.timeout_at(self._look_at):
                await self._woken.wait()
        except TimeoutError:
            self._look_everywhere(LOOK_EVERY)
        else:
            # A message may be announced a moment before its consumer has it: what was announced is asked for twice.
            self._look_at = min(self._look_at, asyncio.get_running_loop().time() + AGAIN_AFTER)

    def _answered(self) -> None:
        if self._unreachable:
            self._unreachable = False
            self._reached()

    async def _serve(self, hopeful: set[tuple[Kind, Priority]]) -> bool:
        for priority, kinds in self._precedence.order():
            for kind in kinds:
                if self._stopping:
                    return False
                if (kind, priority) not in hopeful:
                    continue
                lane = self._lanes[kind, priority]
                message = await lane.puller.pull()
                self._answered()
                if message is not None:
                    self._precedence.served(priority, kind)
                    self._working_since = asyncio.get_running_loop().time()
                    self._occupied_since = self._occupied_since or self._working_since
                    await lane.subscriber.consume(message)
                    return True
                hopeful.remove((kind, priority))
            self._precedence.found_empty(priority)
        return False
