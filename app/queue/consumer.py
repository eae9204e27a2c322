"""The task consumer: pulls task messages one by one, in the order of priorities, and passes them to handlers."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames

from app.cancellation import cancel_all
from app.errors import describe
from app.jetstream.pull_inbox import PullInbox
from app.queue.priorities import PriorityOrder, QueueKey
from app.queue.stored_message import StoredMessage

# All queues are polled at this interval: redeliveries are not announced, and an announcement may be lost.
POLL_INTERVAL_S = 1.0
# An announced queue is polled twice: in a cluster the message is often available only a moment later.
SECOND_POLL_AFTER_S = 0.005
# All queues are polled after an announcement, since the announced message may be available even later, and, with a
# lookahead, after a task, since the release of a message is not announced.
POLL_ALL_AFTER_S = 0.05
LONG_TASK_S, LONG_WITHOUT_IDLING_S = 1.0, 30.0  # a worker that is busy for longer delays other tasks
RELEASE_TIMEOUT_S = 6.0  # for a cancelled task to append to its log and to release its message
CANCEL_AGAIN_AFTER_S = 0.5
RELEASE: Final = b"-NAK"  # JetStream's negative acknowledgement: redeliver this message

HandleMessage = Callable[[Msg], Awaitable[object]]  # handles a message, and settles it

log = structlog.get_logger()


class TaskConsumer:
    """Pulls messages from the task queues and passes them to the handlers of the queues.

    When a task is announced for an empty queue, the consumer polls the queue at once, and again SECOND_POLL_AFTER_S and
    POLL_ALL_AFTER_S after the announcement. Otherwise it polls an empty queue every POLL_INTERVAL_S.
    """

    def __init__(  # noqa: PLR0913 -- the queues, two callbacks and two settings
        self,
        queues: Mapping[QueueKey, HandleMessage],
        names: StreamNames,
        broken: Callable[[], None],
        *,
        reached: Callable[[], None] = lambda: None,
        lookahead: int = 1,
        at_once: int = 1,
    ) -> None:
        """Consume the task queues `queues`: the value of each is the function that handles its messages.

        `broken` is called when the consumer ends with an error, `reached` when NATS answers again after an outage.
        `at_once`: how many messages are handled at the same time at most. `lookahead`: how many messages of a queue the
        consumer pulls at once; it handles the message with the shortest recording, and releases the others.
        """
        self._queues = queues
        self._names = names
        self._broken = broken
        self._reached = reached
        self._lookahead = lookahead
        self._at_once = at_once
        self._tasks: set[asyncio.Task[object]] = set()  # running handlers
        self._keys = {subjects.accepted_in(*key): key for key in queues}
        self._inboxes: dict[QueueKey, PullInbox] = {}
        self._order = PriorityOrder()
        self._to_poll: set[QueueKey] = set()  # queues that may hold a message
        self._second_polls: dict[QueueKey, float] = {}  # when to poll announced queues again, in the event loop's time
        self._announced_at = -math.inf  # when a task was last announced, in the event loop's time
        self._poll_all_at = 0.0  # when to poll all queues again, in the event loop's time
        self._announced = asyncio.Event()
        self._unreachable = False
        self._stopping = False
        self._task_since: float | None = None  # when the running task started, in the event loop's time
        self._busy_since: float | None = None  # when this worker was last idle, in the event loop's time
        self._nats: Client
        self._loop: asyncio.Task[None] | None = None

    async def start(self, nats: Client) -> None:
        """Start to pull messages; `nats` must be connected."""
        self._nats = nats
        for key in self._queues:
            self._inboxes[key] = PullInbox(nats, self._names.tasks, self._names.queue_consumer(*key))
        await nats.subscribe(subjects.ALL_ACCEPTED, cb=self._on_announcement)
        self._poll_all(poll_after=POLL_INTERVAL_S)
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def stop(self, *, grace: float) -> None:
        """Stop pulling messages, and wait until the running tasks have ended.

        `grace`: the seconds after which tasks that still run are cancelled; a cancelled task releases its message.
        """
        self._stopping = True
        self._announced.set()
        if self._loop is None:
            return
        await asyncio.wait([self._loop, *self._tasks], timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await cancel_all([self._loop, *self._tasks], again_after=CANCEL_AGAIN_AFTER_S)

    @property
    def running(self) -> bool:
        """Whether the consumer has started and not ended yet."""
        return self._loop is not None and not self._loop.done()

    @property
    def idle(self) -> bool:
        """Whether the consumer would start another task immediately."""
        return self.running and len(self._tasks) < self._at_once

    @property
    def delays_tasks(self) -> bool:
        """Whether this worker keeps tasks waiting.

        It does if its latest task has run for LONG_TASK_S, or if it has not been idle for LONG_WITHOUT_IDLING_S.
        """
        now = asyncio.get_running_loop().time()
        task_s, busy_s = (now - (since or now) for since in (self._task_since, self._busy_since))
        return task_s >= LONG_TASK_S or busy_s >= LONG_WITHOUT_IDLING_S

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Report that the consumer has ended unexpectedly: a worker without a consumer must end, too."""
        if not self._stopping:
            log.critical("consumer_broken", exc_info=None if loop.cancelled() else loop.exception())
            self._broken()

    async def _on_announcement(self, announcement: Msg) -> None:
        key = self._keys.get(announcement.subject)
        if key is not None:
            self._announced_at = asyncio.get_running_loop().time()
            self._to_poll.add(key)
            self._second_polls[key] = self._announced_at + SECOND_POLL_AFTER_S
            self._poll_all_at = min(self._poll_all_at, self._announced_at + POLL_ALL_AFTER_S)
            self._announced.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._announced.clear()
            self._collect()
            polled, self._to_poll = self._to_poll, set()
            try:
                started = await self._start_next(polled)
            except NatsError as error:
                log.warning("task_poll_failed", error=describe(error))
                self._to_poll, started, self._unreachable = set(self._queues), False, True
            if started:
                await self._until_free()
                self._to_poll |= polled
                if asyncio.get_running_loop().time() >= self._poll_all_at:
                    self._poll_all(poll_after=POLL_INTERVAL_S if self._lookahead == 1 else POLL_ALL_AFTER_S)
            elif not self._stopping:
                self._busy_since = None
                await self._idle()

    async def _until_free(self) -> None:
        """Wait until the next message can be handled.

        Raises:
            Exception: A handler has raised an error, which is a fault.
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

    async def _idle(self) -> None:
        """Wait for an announcement, or until a queue must be polled."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(min(self._poll_all_at, *self._second_polls.values(), math.inf)):
                await self._announced.wait()
        now = asyncio.get_running_loop().time()
        self._to_poll |= self._second_polls.keys()
        self._second_polls = {key: at for key, at in self._second_polls.items() if at > now}
        if now >= self._poll_all_at:
            self._poll_all(poll_after=POLL_INTERVAL_S)

    def _poll_all(self, *, poll_after: float) -> None:
        """Have all queues polled now, and again in `poll_after` seconds.

        If a task was announced less than POLL_ALL_AFTER_S ago, the second poll is in POLL_ALL_AFTER_S.
        """
        now = asyncio.get_running_loop().time()
        self._to_poll = set(self._queues)
        self._poll_all_at = now + (POLL_ALL_AFTER_S if now - self._announced_at < POLL_ALL_AFTER_S else poll_after)

    async def _start_next(self, to_poll: set[QueueKey]) -> bool:
        """Start to handle the next message of the queues in `to_poll`; return whether a handler was started.

        Queues that turn out to be empty are removed from `to_poll`.
        """
        for priority, lanes in self._order.current():
            for key in [(lane, priority) for lane in lanes if (lane, priority) in to_poll]:
                if self._stopping:
                    return False
                message = await self._pull(key)
                if message is not None:
                    self._order.note_served(key)
                    self._task_since = asyncio.get_running_loop().time()
                    self._busy_since = self._busy_since or self._task_since
                    self._tasks.add(asyncio.ensure_future(self._queues[key](message)))
                    return True
                to_poll.remove(key)
            self._order.note_empty(priority)
        return False

    async def _pull(self, key: QueueKey) -> Msg | None:
        """Pull up to `lookahead` messages of a queue; return the first by `_rank`, and release the others.

        None: the queue is empty.
        """
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
        """Return the sort key of a message: the duration of its recording, with unknown durations last, then its age.

        Messages that were delivered more than `lookahead` times precede all others, the oldest first.
        """
        stored = StoredMessage.delivered(message)
        if (message.metadata.num_delivered or 1) > self._lookahead:
            return False, 0.0, stored.sequence
        return True, stored.audio_seconds or math.inf, stored.sequence

    async def _release(self, messages: Sequence[Msg]) -> None:
        """Release messages in their order; wait until nats-server confirms the last one."""
        with suppress(NatsError):  # unreleased messages are redelivered after TASK_ACK_WAIT
            for message in messages[:-1]:
                await self._nats.publish(message.reply, RELEASE)
            await self._nats.request(messages[-1].reply, RELEASE, timeout=REQUEST_TIMEOUT_S)
