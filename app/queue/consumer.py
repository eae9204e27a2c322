"""The task consumer: takes one task message at a time, in the order of priorities, and has FastStream handle it.

FastStream's own pull subscribers fetch by themselves: six of them would hold six messages for one worker, and none
knows of priorities. FastStream 0.7.8 offers no pull subscriber that somebody else triggers. So its subscribers are
declared (document, middlewares, dependency injection), but `TaskConsumer` pulls and hands each message to the public
`subscriber.consume`. FastStream starts a pull loop only where `subscriber.subscription` is unset: `_NoPullLoop` sets
it. `tests/integration/test_pull_loops.py` fails when a version of FastStream does otherwise.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.cancellation import cancel_all
from app.jetstream.pull_inbox import ANSWER_TIMEOUT_S, PullInbox
from app.queue.priorities import PriorityOrder
from app.queue.stored_message import StoredMessage
from schemas import subjects
from schemas.stream_names import StreamNames
from schemas.wire import Kind, Priority

POLL_INTERVAL_S = 1.0  # nobody announces a message that is delivered again, and an announcement may be lost
RECHECK_AFTER_S = 0.05  # a message may be announced before it can be pulled; nobody announces what a worker releases
LONG_WITH_ONE_TASK_S, LONG_WITHOUT_REST_S = 1.0, 30.0
RELEASE_WITHIN_S = 6.0  # a task that is stopped appends to its log and releases its message, which needs NATS
CANCEL_AGAIN_AFTER_S = 0.5
RELEASE: Final = b"-NAK"

TaskSubscribers = dict[tuple[Kind, Priority], PullStreamSubscriber]

log = structlog.get_logger()


class _NoPullLoop:
    """Stands where FastStream keeps its pull subscription, so that FastStream starts no pull loop."""

    async def unsubscribe(self) -> None:
        """Do nothing: there is no subscription to end."""


class TaskConsumer:
    """Asks the task queues for a message whenever the worker is free, and waits until its handler has ended.

    A queue that was found empty is asked again when a task is announced for it, so that no time is lost with the
    others.
    """

    def __init__(
        self,
        subscribers: TaskSubscribers,
        names: StreamNames,
        broken: Callable[[], None],
        *,
        reached: Callable[[], None] = lambda: None,
        lookahead: int = 1,
    ) -> None:
        """Consume for these subscribers.

        `broken` is called when the consumer ends by an error, `reached` when NATS answers after it did not. With a
        `lookahead` above one, the shortest of so many recordings goes first.
        """
        self._subscribers = subscribers
        self._names = names
        self._broken = broken
        self._reached = reached
        self._lookahead = lookahead
        self._keys = {subjects.accepted_in(*key): key for key in subscribers}
        self._inboxes: dict[tuple[Kind, Priority], PullInbox] = {}
        self._order = PriorityOrder()
        self._to_ask: set[tuple[Kind, Priority]] = set()  # queues that may hold a message
        self._poll_at = 0.0  # when all queues are asked again, by the event loop's clock
        self._announced = asyncio.Event()
        self._unreachable = False
        self._stopping = False
        self._task_since: float | None = None  # by the event loop's clock; None: there is no task
        self._busy_since: float | None = None  # the same, since a queue last had nothing
        self._nats: Client
        self._loop: asyncio.Task[None] | None = None

    def replace_pull_loops(self) -> None:
        """Keep FastStream from pulling by itself; call this before the broker starts."""
        for subscriber in self._subscribers.values():
            subscriber.subscription = _NoPullLoop()  # type: ignore[assignment]  # only unsubscribe() is called

    async def start(self, nats: Client) -> None:
        """Begin to consume; call this after the broker has started."""
        self._nats = nats
        for key in self._subscribers:
            self._inboxes[key] = PullInbox(nats, self._names.tasks, self._names.queue_consumer(*key))
        await nats.subscribe(subjects.ALL_ACCEPTED, cb=self._note_announced)
        self._ask_all(poll_after=POLL_INTERVAL_S)
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def stop(self, *, grace: float) -> None:
        """Take no further message; stop and release a task that has not ended after `grace` seconds."""
        self._stopping = True
        self._announced.set()
        if self._loop is None:
            return
        await asyncio.wait([self._loop], timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN_S):
                await cancel_all([self._loop], again_after=CANCEL_AGAIN_AFTER_S)

    @property
    def running(self) -> bool:
        """Whether the consumer takes messages or works on one."""
        return self._loop is not None and not self._loop.done()

    @property
    def idle(self) -> bool:
        """Whether the consumer would begin a task at once."""
        return self.running and self._task_since is None

    @property
    def keeps_waiting(self) -> bool:
        """Whether other tasks have to wait: the running one takes long, or the worker has been busy for long."""
        now = asyncio.get_running_loop().time()
        with_task, busy = (now - (since or now) for since in (self._task_since, self._busy_since))
        return with_task >= LONG_WITH_ONE_TASK_S or busy >= LONG_WITHOUT_REST_S

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """End the worker rather than have it live on without working."""
        if not self._stopping:
            log.critical("consumer_broken", exc_info=None if loop.cancelled() else loop.exception())
            self._broken()

    async def _note_announced(self, announced: Msg) -> None:
        key = self._keys.get(announced.subject)
        if key is not None:
            self._to_ask.add(key)
            self._announced.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._announced.clear()
            asked, self._to_ask = self._to_ask, set()
            try:
                worked = await self._work_on_next(asked)
            except NatsError as error:
                log.warning("task_queues_unreachable", error=str(error) or type(error).__name__)
                self._to_ask, worked, self._unreachable = set(self._subscribers), False, True
            self._task_since = None
            if worked:
                self._to_ask |= asked
                if asyncio.get_running_loop().time() >= self._poll_at:
                    self._ask_all(poll_after=POLL_INTERVAL_S if self._lookahead == 1 else RECHECK_AFTER_S)
            elif not self._stopping:
                self._busy_since = None
                await self._rest()

    async def _rest(self) -> None:
        """Wait for an announcement, or until it is time to ask without one."""
        try:
            async with asyncio.timeout_at(self._poll_at):
                await self._announced.wait()
        except TimeoutError:
            self._ask_all(poll_after=POLL_INTERVAL_S)
        else:
            self._poll_at = min(self._poll_at, asyncio.get_running_loop().time() + RECHECK_AFTER_S)

    def _ask_all(self, *, poll_after: float) -> None:
        self._to_ask = set(self._subscribers)
        self._poll_at = asyncio.get_running_loop().time() + poll_after

    async def _work_on_next(self, to_ask: set[tuple[Kind, Priority]]) -> bool:
        """Handle the next message of these queues, and remove those that are empty; whether there was a message."""
        for priority, kinds in self._order.current():
            for kind in kinds:
                if self._stopping:
                    return False
                if (kind, priority) not in to_ask:
                    continue
                message = await self._pull((kind, priority))
                if message is not None:
                    self._order.served(priority, kind)
                    self._task_since = asyncio.get_running_loop().time()
                    self._busy_since = self._busy_since or self._task_since
                    await self._subscribers[kind, priority].consume(message)
                    return True
                to_ask.remove((kind, priority))
            self._order.found_empty(priority)
        return False

    async def _pull(self, key: tuple[Kind, Priority]) -> Msg | None:
        """Take the next message of a queue: of several, the one that goes first; the others are released."""
        messages = await self._inboxes[key].ask(self._lookahead)
        if self._unreachable:
            self._unreachable = False
            self._reached()
        if len(messages) <= 1:
            return next(iter(messages), None)
        first = min(messages, key=self._rank)
        await self._release([message for message in messages if message is not first])
        return first

    def _rank(self, message: Msg) -> tuple[bool, float, int]:
        """Sort by the recording's length, then by age; a message that was passed over `lookahead` times goes first."""
        stored = StoredMessage.delivered(message)
        if (message.metadata.num_delivered or 1) > self._lookahead:
            return False, 0.0, stored.sequence
        return True, stored.audio_seconds or math.inf, stored.sequence

    async def _release(self, messages: Sequence[Msg]) -> None:
        """Release messages in their order; other workers can have them when this returns."""
        with suppress(NatsError):  # they are delivered again after TASK_ACK_WAIT
            for message in messages[:-1]:
                await self._nats.publish(message.reply, RELEASE)
            await self._nats.request(messages[-1].reply, RELEASE, timeout=ANSWER_TIMEOUT_S)
