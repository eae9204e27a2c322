"""The task slots of a worker: each is a FastStream subscriber that pulls one grant at a time and runs its task."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Final

import structlog
from faststream import AckPolicy, BaseMiddleware, ContextRepo, StreamMessage
from faststream.nats import JStream, NatsBroker, NatsRouter, PullSub
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import TaskType

from app.runtime.cancellation import cancel_all
from app.runtime.errors import describe
from app.storage.jetstream.nats_py_compat import end_delivery
from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.granted_task import GrantedTask, GrantReader

# How long a pull request waits. A worker has several slots for live tasks, and each request costs JetStream something;
# but a request that a cluster has lost, together with the leader of the consumer, is noticed only after this time.
PULL_TIMEOUT_S: Final = {SlotPool.RECORDINGS: 5.0, SlotPool.LIVE: 30.0}
RELEASE_TIMEOUT_S: Final = 6.0  # for a cancelled task to append to its log and to release its message
CANCEL_AGAIN_AFTER_S: Final = 0.5
PASSED_ON_WITHIN: Final = 20  # iterations of the event loop, from the receipt of a grant to the start of its delivery
CHECK_EVERY_S: Final = 1.0  # whether pull requests were lost or fail at once
# FastStream repeats a pull request that fails at once without a pause (faststream#2632): thousands in a second.
MANY_MESSAGES: Final = 300  # sent within CHECK_EVERY_S; a busy worker sends as many, so its consumers are checked then

log = structlog.get_logger()


@dataclass(eq=False)
class TaskSlot:
    """Room for one running task: a subscriber that pulls one grant at a time, and runs its task before the next pull.

    An idle slot has a pull request open, which tells the scheduler that it may grant a task. `delivery`: the asyncio
    task that processes a grant at the moment; None: the slot is idle.
    """

    pool: SlotPool
    subscriber: PullStreamSubscriber = field(init=False)
    delivery: asyncio.Task[object] | None = field(default=None, init=False)

    @property
    def idle(self) -> bool:
        """Whether the slot would start a granted task at once."""
        return self.subscriber.running and self.delivery is None

    def subscribe(
        self,
        broker: NatsBroker,
        read: GrantReader,
        names: StreamNames,
        handlers: Mapping[TaskType, Callable[..., Awaitable[object]]],  # `...`: handlers differ in their parameters
        *middlewares: Callable[..., BaseMiddleware[Any, Any]],  # `...`, `Any`: as FastStream types them
    ) -> None:
        """Declare the subscriber of this slot on a broker that has not started.

        `handlers`: the handler of each task type; those of other slots are ignored. `middlewares`: around the handlers.
        """

        def mark_busy(grant: Any, /, *, context: ContextRepo) -> SlotMiddleware:
            return SlotMiddleware(self, read, grant, context=context)

        router = NatsRouter(middlewares=[mark_busy, *middlewares])
        self.subscriber = router.subscriber(
            subjects.ready(self.pool, "*"),
            stream=JStream(names.ready, declare=False),
            durable=names.slot_consumer(self.pool),
            pull_sub=PullSub(batch_size=1, timeout=PULL_TIMEOUT_S[self.pool]),
            ack_policy=AckPolicy.MANUAL,
            parser=read,
            no_reply=True,
            include_in_schema=False,
        )
        for task_type, handler in handlers.items():
            if SlotPool.of(task_type) is self.pool:
                self.subscriber(handler, filter=partial(_is_of, task_type))
        broker.include_router(router)

    async def stop(self, *, grace: float) -> None:
        """Pull no more grants, and wait until the running task has ended.

        `grace`: the seconds after which a task that still runs is cancelled: its grant returns to JetStream.
        """
        if not self.subscriber.running:
            return
        if self.delivery is None and self.subscriber.subscription is not None:
            # FastStream discards a grant on its way to a subscriber that stops. So wait until it is here.
            await end_delivery(self.subscriber.subscription)
            for _ in range(PASSED_ON_WITHIN):
                await asyncio.sleep(0)
        stopping = asyncio.create_task(self.subscriber.stop())
        if self.delivery is not None:
            await asyncio.wait([self.delivery], timeout=grace)
        if self.delivery is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await cancel_all([self.delivery], again_after=CANCEL_AGAIN_AFTER_S)
        await stopping


async def _is_of(
    task_type: TaskType, message: GrantedTask
) -> bool:  # a coroutine: FastStream calls functions in a thread
    return message.stored.task_type is task_type


class SlotMiddleware(BaseMiddleware[Any, Any]):  # `Any`: FastStream's type parameters
    """Marks a slot as busy while it processes a grant, and settles a grant whose task could not be read."""

    def __init__(self, slot: TaskSlot, read: GrantReader, grant: Msg, /, *, context: ContextRepo) -> None:
        super().__init__(grant, context=context)
        self._slot = slot
        self._read = read
        self._is_read = False

    async def on_receive(self) -> None:
        """Mark the slot as busy."""
        self._slot.delivery = asyncio.current_task()

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> object:
        """Note that the task could be read, so that the handler settles the grant."""
        self._is_read = True
        return await call_next(msg)

    async def after_processed(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool | None:
        """Settle the grant if its task could not be read, and mark the slot as idle.

        Return whether FastStream shall ignore the error.
        """
        del exc_type, exc_tb
        try:
            if exc_val is not None and not self._is_read:
                await self._read.settle_unread(self.msg, exc_val)
        finally:
            self._slot.delivery = None
        return isinstance(exc_val, Exception) and not self._is_read


def task_slots(live_tasks: int) -> tuple[TaskSlot, ...]:
    """Create the slots of a worker: one for recordings, and several for live tasks, which run at the same time."""
    return (TaskSlot(SlotPool.RECORDINGS), *(TaskSlot(SlotPool.LIVE) for _ in range(live_tasks)))


@dataclass(eq=False)
class TaskSlots:
    """All task slots of a worker; `run` keeps the pull requests of idle ones open through outages of NATS.

    `answered`: called when JetStream answers again after an outage.
    """

    names: StreamNames
    slots: Sequence[TaskSlot]
    answered: Callable[[], None]

    @property
    def running(self) -> bool:
        """Whether the slots pull grants, or run tasks."""
        return bool(self.slots) and all(slot.subscriber.running for slot in self.slots)

    @property
    def idle(self) -> bool:
        """Whether the slot for recordings would start a granted task at once."""
        return any(slot.idle for slot in self.slots if slot.pool is SlotPool.RECORDINGS)

    @property
    def busy(self) -> bool:
        """Whether the slot for recordings runs a task."""
        return any(slot.delivery is not None for slot in self.slots if slot.pool is SlotPool.RECORDINGS)

    async def stop(self, *, grace: float) -> None:
        """Stop all slots. Running live tasks are cancelled at once, because another worker continues them.

        `grace`: the seconds after which other running tasks are cancelled.
        """
        await asyncio.gather(*(slot.stop(grace=0 if slot.pool is SlotPool.LIVE else grace) for slot in self.slots))

    async def run(self, nats: Client) -> None:
        """Watch the pull requests of idle slots until cancelled: open them again if they are lost, or fail at once.

        They are lost when the client reconnects, and fail at once while a consumer is missing or has no leader.
        """
        reconnects, sent = nats.stats["reconnects"], nats.stats["out_msgs"]
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            is_lost = not nats.is_connected or nats.stats["reconnects"] != reconnects
            is_suspicious = nats.stats["out_msgs"] - sent > MANY_MESSAGES and any(slot.idle for slot in self.slots)
            if is_lost or (is_suspicious and not await self._are_consumers_available(nats)):
                await self._reopen(nats)
            reconnects, sent = nats.stats["reconnects"], nats.stats["out_msgs"]

    async def _reopen(self, nats: Client) -> None:
        """Close the pull requests of idle slots, and open new ones as soon as JetStream has their consumers."""
        closed = [slot.subscriber for slot in self.slots if slot.idle]
        log.warning("task_poll_failed", slots=len(closed))
        await asyncio.gather(*(subscriber.stop() for subscriber in closed))
        while not await self._are_consumers_available(nats):  # noqa: ASYNC110 -- nothing reports this
            await asyncio.sleep(CHECK_EVERY_S)
        self.answered()
        while closed:
            try:
                await closed[-1].start()
                closed.pop()
            except NatsError as error:
                log.warning("task_poll_failed", error=describe(error))
                await asyncio.sleep(CHECK_EVERY_S)

    async def _are_consumers_available(self, nats: Client) -> bool:
        """Return whether JetStream answers and has the consumers of grants."""
        stream = nats.jetstream(timeout=REQUEST_TIMEOUT_S)
        try:
            for pool in {slot.pool for slot in self.slots}:
                await stream.consumer_info(self.names.ready, self.names.slot_consumer(pool))
        except NatsError:
            return False
        return True
