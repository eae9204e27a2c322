"""Pulls task messages from the task queues, in the order of their priorities, and passes them to handlers."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas.stream_names import StreamNames

from app.cancellation import cancel_all
from app.errors import describe
from app.jetstream.pull_inbox import LINGER_S, RELEASE, PullInbox
from app.queue.priorities import PriorityOrder, QueueKey
from app.queue.stored_message import StoredMessage

RETRY_AFTER_S = 1.0  # pause after a poll that has failed
LONG_TASK_S, LONG_WITHOUT_IDLING_S = 1.0, 30.0  # a worker that is busy for longer delays other tasks
RELEASE_TIMEOUT_S = 6.0  # for a cancelled task to append to its log and to release its message
CANCEL_AGAIN_AFTER_S = 0.5

HandleMessage = Callable[[Msg], Awaitable[object]]  # handles a message, and settles it

log = structlog.get_logger()


class TaskConsumer:
    """Pulls messages from the task queues, one for each lane and priority, and passes them to handlers.

    Lanes are transcription, diarization and live tasks. A consumer that can handle a message polls the queues in the
    order of their priorities. If all are empty, it leaves one pull request open for each queue, which JetStream answers
    as soon as the queue has a message. A queue with an open request counts as empty, and is not polled. Requests stay
    open while a message is handled: a message that arrives then is released at once, so that another worker gets it.
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
        """Create a consumer of the task queues `queues`, each with the function that handles its messages.

        The consumer calls `broken` when it ends with an error, and `reached` when NATS answers again after an outage.
        `at_once`: the maximum number of messages that are handled at the same time. `lookahead`: how many messages of a
        queue the consumer pulls at once; it handles the message with the shortest recording, and releases the others.
        """
        self._queues = queues
        self._names = names
        self._broken = broken
        self._reached = reached
        self._lookahead = lookahead
        self._at_once = at_once
        self._tasks: set[asyncio.Task[object]] = set()  # running handlers
        self._inboxes: dict[QueueKey, PullInbox] = {}
        self._requests: dict[QueueKey, asyncio.Task[None]] = {}  # open requests of empty queues
        self._arrived: dict[QueueKey, Msg] = {}  # messages that open requests have brought, not handled yet
        self._woken = asyncio.Event()  # a message has arrived, or the consumer must stop
        self._order = PriorityOrder()
        self._unanswered: set[QueueKey] = set()  # queues whose last request was not answered
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
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def stop(self, *, grace: float) -> None:
        """Stop pulling messages, and wait until the running tasks have ended.

        `grace`: the seconds after which tasks that still run are cancelled; a cancelled task releases its message.
        """
        self._stopping = True
        self._woken.set()
        if self._loop is None:
            return
        await self._release_arrived()
        await asyncio.wait([self._loop, *self._tasks], timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await cancel_all([self._loop, *self._requests.values(), *self._tasks], again_after=CANCEL_AGAIN_AFTER_S)

    @property
    def running(self) -> bool:
        """Whether the consumer has started and has not ended."""
        return self._loop is not None and not self._loop.done()

    @property
    def idle(self) -> bool:
        """Whether the consumer would start another task immediately."""
        return self.running and len(self._tasks) < self._at_once

    @property
    def delays_tasks(self) -> bool:
        """Whether this worker is so busy that waiting tasks may have to wait longer.

        That is so if its latest task has been running for LONG_TASK_S, or if it has been busy for
        LONG_WITHOUT_IDLING_S.
        """
        now = asyncio.get_running_loop().time()
        task_s, busy_s = (now - (since or now) for since in (self._task_since, self._busy_since))
        return task_s >= LONG_TASK_S or busy_s >= LONG_WITHOUT_IDLING_S

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Call `broken` if the loop of the consumer has ended unexpectedly: a worker that pulls no tasks must end."""
        if not self._stopping:
            log.critical("consumer_broken", exc_info=None if loop.cancelled() else loop.exception())
            self._broken()

    async def _run(self) -> None:
        while not self._stopping:
            self._woken.clear()
            self._collect()
            if await self._start_next():
                await self._until_free()
            else:
                self._busy_since = None
                await self._wait_for_message()

    async def _until_free(self) -> None:
        """Wait until fewer than `at_once` messages are being handled.

        Raises:
            Exception: A handler has raised an error that it should have handled.
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

    async def _start_next(self) -> bool:
        """Poll the queues in order, and start a handler for the first message; return whether a handler was started."""
        for priority, lanes in self._order.current():
            for key in [(lane, priority) for lane in lanes if (lane, priority) in self._queues]:
                message = self._arrived.pop(key, None) or await self._poll(key)
                if message is not None:
                    await self._start_handler(key, message)
                    return True
                if self._stopping or (key in self._unanswered and not self._is_awaited(key)):
                    return False  # no queue is polled before this one is known to be empty
            self._order.note_empty(priority)
        return False

    async def _start_handler(self, key: QueueKey, message: Msg) -> None:
        self._order.note_served(key)
        self._task_since = asyncio.get_running_loop().time()
        self._busy_since = self._busy_since or self._task_since
        self._tasks.add(asyncio.ensure_future(self._queues[key](message)))
        if not self._has_room:
            await self._release_arrived()

    async def _wait_for_message(self) -> None:
        """Open a pull request for each queue that has none; wait until a message arrives or the consumer must stop."""
        for key in self._queues:
            if not self._is_awaited(key):
                self._requests[key] = asyncio.create_task(self._await_message(key))
        if not self._arrived:
            await self._woken.wait()

    async def _await_message(self, key: QueueKey) -> None:
        """Keep a pull request for one queue open until a message arrives; send it again if it expires or is lost.

        While no handler is free, a message that arrives is released, and the request is not sent again.
        """
        messages: list[Msg] = []
        within = 0.0 if self._unanswered else LINGER_S  # the end of an outage is noticed at once
        while self._has_room and not messages:
            messages = await self._pull(key, 1, within=within)
            within = 0.0 if key in self._unanswered else LINGER_S
        for message in messages:
            if self._has_room:
                self._arrived[key] = message
                self._woken.set()
            else:
                await self._nats.publish(message.reply, RELEASE)

    async def _poll(self, key: QueueKey) -> Msg | None:
        """Pull up to `lookahead` messages of a queue; return the first in the order of `_rank`, and release the others.

        Return None if the queue is empty.
        """
        if self._is_awaited(key):
            return None
        messages = await self._pull(key, self._lookahead)
        if len(messages) <= 1:
            return next(iter(messages), None)
        first = min(messages, key=self._rank)
        await self._release([message for message in messages if message is not first])
        return first

    async def _pull(self, key: QueueKey, batch: int, *, within: float = 0.0) -> list[Msg]:
        """Pull up to `batch` messages of a queue; return none if JetStream does not answer, or the request was lost.

        `within`: how many seconds to wait for a message.
        """
        try:
            messages = await self._inboxes[key].pull(batch, within=within)
        except NatsError as error:
            if not self._unanswered:
                log.warning("task_poll_failed", error=describe(error))
            elif key in self._unanswered:
                await asyncio.sleep(RETRY_AFTER_S)
            self._unanswered.add(key)
            return []
        if self._unanswered == {key}:
            self._reached()
        self._unanswered.discard(key)
        return messages

    def _is_awaited(self, key: QueueKey) -> bool:
        """Return whether the queue `key` has an open pull request, or one whose message is not handled yet."""
        return key in self._arrived or (key in self._requests and not self._requests[key].done())

    @property
    def _has_room(self) -> bool:
        return not self._stopping and len(self._tasks) < self._at_once

    def _rank(self, message: Msg) -> tuple[bool, float, int]:
        """Return the sort key of a pulled message: the shortest recording is first, unknown durations are last.

        Messages with the same duration are sorted by age. A message that was delivered more than `lookahead` times
        precedes all others, so that no long recording waits for ever.
        """
        stored = StoredMessage.delivered(message)
        if (message.metadata.num_delivered or 1) > self._lookahead:
            return False, 0.0, stored.sequence
        return True, stored.audio_seconds or math.inf, stored.sequence

    async def _release(self, messages: Sequence[Msg]) -> None:
        """Release messages, so that other workers get them in this order; wait until NATS confirms the last one."""
        with suppress(NatsError):  # unreleased messages are redelivered after TASK_ACK_WAIT
            for message in messages[:-1]:
                await self._nats.publish(message.reply, RELEASE)
            for message in messages[-1:]:
                await self._nats.request(message.reply, RELEASE, timeout=REQUEST_TIMEOUT_S)

    async def _release_arrived(self) -> None:
        arrived, self._arrived = list(self._arrived.values()), {}
        await self._release(arrived)
