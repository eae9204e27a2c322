"""The task consumer: pulls task messages one by one, in the order of priorities, and has each handled."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.jetstream.retries import REQUEST_TIMEOUT_S
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane, Priority

from app.cancellation import cancel_all
from app.errors import describe
from app.jetstream.pull_inbox import PullInbox
from app.queue.priorities import PriorityOrder
from app.queue.stored_message import StoredMessage

# All queues are asked at this interval: a redelivery is not announced, and an announcement may be lost.
POLL_INTERVAL_S = 1.0
# An announced queue is asked a second time: in a cluster the message is often available only a moment later.
ASK_AGAIN_AFTER_S = 0.005
# All queues are asked again after an announcement, since the announced message may be available even later, and, with a
# lookahead, after a task, since the release of a message is not announced.
RECHECK_AFTER_S = 0.05
LONG_WITH_ONE_TASK_S, LONG_WITHOUT_REST_S = 1.0, 30.0  # a worker that is busy for longer keeps other tasks waiting
RELEASE_WITHIN_S = 6.0  # a stopped task has this time to append to its log and to release its message
CANCEL_AGAIN_AFTER_S = 0.5
RELEASE: Final = b"-NAK"  # JetStream's acknowledgement for "deliver this message again"

QueueKey = tuple[Lane, Priority]
HandleMessage = Callable[[Msg], Awaitable[object]]  # handles a message, and settles it

log = structlog.get_logger()


class TaskConsumer:
    """Pulls messages from the task queues; up to `at_once` messages are handled at the same time.

    A queue that was found empty is asked again when a task is announced for this queue, ASK_AGAIN_AFTER_S and
    RECHECK_AFTER_S after that, and otherwise every POLL_INTERVAL_S.
    """

    def __init__(  # noqa: PLR0913 -- the queues, whom to tell, and two settings
        self,
        queues: Mapping[QueueKey, HandleMessage],
        names: StreamNames,
        broken: Callable[[], None],
        *,
        reached: Callable[[], None] = lambda: None,
        lookahead: int = 1,
        at_once: int = 1,
    ) -> None:
        """Consume these task queues; each message is given to the function of its queue.

        `broken` is called when the consumer ends with an error, `reached` when NATS answers again after an outage.
        With a `lookahead` of N, the consumer pulls up to N messages of a queue, handles the message with the shortest
        recording and releases the rest.
        """
        self._queues = queues
        self._names = names
        self._broken = broken
        self._reached = reached
        self._lookahead = lookahead
        self._at_once = at_once
        self._tasks: set[asyncio.Task[object]] = set()  # handlers that run
        self._keys = {subjects.accepted_in(*key): key for key in queues}
        self._inboxes: dict[QueueKey, PullInbox] = {}
        self._order = PriorityOrder()
        self._to_ask: set[QueueKey] = set()  # queues that may hold a message
        self._ask_again: dict[QueueKey, float] = {}  # announced queues, and when each is asked once more
        self._announced_at = -math.inf  # when a task was announced last, in the event loop's time
        self._poll_at = 0.0  # when all queues are asked again, in the event loop's time
        self._announced = asyncio.Event()
        self._unreachable = False
        self._stopping = False
        self._task_since: float | None = None  # when the running task began, in the event loop's time
        self._busy_since: float | None = None  # since when task follows task without a rest, in the same time
        self._nats: Client
        self._loop: asyncio.Task[None] | None = None

    async def start(self, nats: Client) -> None:
        """Begin to consume; call this after the broker has started."""
        self._nats = nats
        for key in self._queues:
            self._inboxes[key] = PullInbox(nats, self._names.tasks, self._names.queue_consumer(*key))
        await nats.subscribe(subjects.ALL_ACCEPTED, cb=self._note_announced)
        self._ask_all(poll_after=POLL_INTERVAL_S)
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def stop(self, *, grace: float) -> None:
        """Pull no more messages; after `grace` seconds cancel the tasks that still run, which releases them."""
        self._stopping = True
        self._announced.set()
        if self._loop is None:
            return
        await asyncio.wait([self._loop, *self._tasks], timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_WITHIN_S):
                await cancel_all([self._loop, *self._tasks], again_after=CANCEL_AGAIN_AFTER_S)

    @property
    def running(self) -> bool:
        """Whether the consumer pulls messages or handles a message."""
        return self._loop is not None and not self._loop.done()

    @property
    def idle(self) -> bool:
        """Whether the consumer would begin a task at once."""
        return self.running and len(self._tasks) < self._at_once

    @property
    def delays_tasks(self) -> bool:
        """Whether this worker delays waiting tasks: it ran a task for LONG_WITH_ONE_TASK_S, or LONG_WITHOUT_REST_S."""
        now = asyncio.get_running_loop().time()
        with_task, busy = (now - (since or now) for since in (self._task_since, self._busy_since))
        return with_task >= LONG_WITH_ONE_TASK_S or busy >= LONG_WITHOUT_REST_S

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Report that the consumer has ended by itself: a worker without a consumer must end, too."""
        if not self._stopping:
            log.critical("consumer_broken", exc_info=None if loop.cancelled() else loop.exception())
            self._broken()

    async def _note_announced(self, announced: Msg) -> None:
        key = self._keys.get(announced.subject)
        if key is not None:
            self._announced_at = asyncio.get_running_loop().time()
            self._to_ask.add(key)
            self._ask_again[key] = self._announced_at + ASK_AGAIN_AFTER_S
            self._poll_at = min(self._poll_at, self._announced_at + RECHECK_AFTER_S)
            self._announced.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._announced.clear()
            self._collect()
            asked, self._to_ask = self._to_ask, set()
            try:
                worked = await self._work_on_next(asked)
            except NatsError as error:
                log.warning("task_poll_failed", error=describe(error))
                self._to_ask, worked, self._unreachable = set(self._queues), False, True
            if worked:
                await self._until_free()
                self._to_ask |= asked
                if asyncio.get_running_loop().time() >= self._poll_at:
                    self._ask_all(poll_after=POLL_INTERVAL_S if self._lookahead == 1 else RECHECK_AFTER_S)
            elif not self._stopping:
                self._busy_since = None
                await self._rest()

    async def _until_free(self) -> None:
        """Wait until the next message can be handled.

        Raises:
            Exception: A handler has raised it, which no handler should.
        """
        while len(self._tasks) >= self._at_once:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._collect()
        self._task_since = None

    def _collect(self) -> None:
        ended = {task for task in self._tasks if task.done()}
        self._tasks -= ended
        for task in ended:
            task.result()

    async def _rest(self) -> None:
        """Wait for an announcement, or until the time has come to ask a queue again."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(self._poll_at, *self._ask_again.values(), math.inf)):
                await self._announced.wait()
        now = asyncio.get_running_loop().time()
        self._to_ask |= self._ask_again.keys()
        self._ask_again = {key: at for key, at in self._ask_again.items() if at > now}
        if now >= self._poll_at:
            self._ask_all(poll_after=POLL_INTERVAL_S)

    def _ask_all(self, *, poll_after: float) -> None:
        """Have all queues asked now, and again after `poll_after`, or RECHECK_AFTER_S if a task was just announced."""
        now = asyncio.get_running_loop().time()
        self._to_ask = set(self._queues)
        self._poll_at = now + (RECHECK_AFTER_S if now - self._announced_at < RECHECK_AFTER_S else poll_after)

    async def _work_on_next(self, to_ask: set[QueueKey]) -> bool:
        """Begin to handle the next message of the queues in `to_ask`; return whether there was one.

        Each queue that turns out to be empty is removed from `to_ask`.
        """
        for priority, queues in self._order.current():
            for queue in queues:
                if self._stopping:
                    return False
                if (queue, priority) not in to_ask:
                    continue
                message = await self._pull((queue, priority))
                if message is not None:
                    self._order.note_served(priority, queue)
                    self._task_since = asyncio.get_running_loop().time()
                    self._busy_since = self._busy_since or self._task_since
                    self._tasks.add(asyncio.ensure_future(self._queues[queue, priority](message)))
                    return True
                to_ask.remove((queue, priority))
            self._order.note_empty(priority)
        return False

    async def _pull(self, key: QueueKey) -> Msg | None:
        """Pull up to `lookahead` messages of a queue, return the first by `_rank` and release the rest."""
        messages = await self._inboxes[key].pull(self._lookahead)
        if self._unreachable:
            self._unreachable = False
            self._reached()
        if len(messages) <= 1:
            return next(iter(messages), None)
        first = min(messages, key=self._rank)
        await self._release([message for message in messages if message is not first])
        return first

    def _rank(self, message: Msg) -> tuple[bool, float, int]:
        """Return the sort key of a message: messages that were released `lookahead` times come first, oldest first.

        All others follow by the length of their recording, unknown lengths last; equal lengths by age.
        """
        stored = StoredMessage.delivered(message)
        if (message.metadata.num_delivered or 1) > self._lookahead:
            return False, 0.0, stored.sequence
        return True, stored.audio_seconds or math.inf, stored.sequence

    async def _release(self, messages: Sequence[Msg]) -> None:
        """Release messages in their order, and wait until nats-server confirms the last release."""
        with suppress(NatsError):  # an unreleased message is delivered again after TASK_ACK_WAIT
            for message in messages[:-1]:
                await self._nats.publish(message.reply, RELEASE)
            await self._nats.request(messages[-1].reply, RELEASE, timeout=REQUEST_TIMEOUT_S)
