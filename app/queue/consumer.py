"""Pulls grants, i.e. messages that let this worker start one task each, and runs the handlers of these tasks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames

from app.cancellation import cancel_all
from app.errors import describe
from app.jetstream.pull_inbox import LINGER_S, PullInbox
from app.jetstream.records import UnreadableError
from app.jetstream.slots import Slots
from app.queue.grants import read_grant
from app.queue.queue_reader import QUEUE_KEYS, QueueKey
from app.queue.task_messages import TaskMessages

RETRY_AFTER_S = 1.0  # pause after a pull that has failed
EARLY_AGAIN_AFTER_S = 5.0  # at most, until the next delivery of a grant that came too early
RELEASE_TIMEOUT_S = 6.0  # for a cancelled task to append to its log and to release its message
CANCEL_AGAIN_AFTER_S = 0.5

HandleMessage = Callable[[Msg], Awaitable[object]]  # handles a message, and settles it

log = structlog.get_logger()


@dataclass(eq=False)
class TaskConsumer:
    """Pulls grants for one kind of slots, and passes the messages of the granted tasks to handlers.

    A grant is a message by which the scheduler lets a worker start one task; a slot is room for one running task. A
    consumer with a free slot leaves a pull request open and notifies the scheduler, which then grants it a task.
    Without a free slot it has no open request, so that no grant is delivered to a busy worker.

    `handlers`: by lane and priority, the function that handles a task message. `broken`: called when the consumer ends
    with an error. `reached`: called when NATS answers again after an outage. `at_once`: the number of slots, i.e. how
    many messages are handled at the same time.
    """

    slots: Slots
    handlers: Mapping[QueueKey, HandleMessage]
    names: StreamNames
    broken: Callable[[], None]
    reached: Callable[[], None] = field(default=lambda: None, kw_only=True)
    at_once: int = field(default=1, kw_only=True)
    _tasks: set[asyncio.Task[object]] = field(default_factory=set, init=False)  # running handlers
    _is_answered: bool = field(default=True, init=False)  # whether JetStream has answered the last pull
    _stopping: bool = field(default=False, init=False)
    _nats: Client = field(init=False)
    _messages: TaskMessages = field(init=False)
    _inbox: PullInbox = field(init=False)
    _loop: asyncio.Task[None] | None = field(default=None, init=False)

    async def start(self, nats: Client) -> None:
        """Start to pull grants; `nats` must be connected."""
        self._nats = nats
        self._messages = TaskMessages(nats, self.names)
        self._inbox = PullInbox(nats, self.names.ready, self.names.slot_consumer(self.slots))
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def stop(self, *, grace: float) -> None:
        """Stop pulling grants, and wait until the running tasks have ended.

        `grace`: the seconds after which tasks that still run are cancelled; the message of a cancelled task returns to
        its queue.
        """
        self._stopping = True
        if self._loop is None:
            return
        await cancel_all([self._loop])
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await cancel_all(self._tasks, again_after=CANCEL_AGAIN_AFTER_S)

    @property
    def running(self) -> bool:
        """Whether the consumer has started and has not ended."""
        return self._loop is not None and not self._loop.done()

    @property
    def idle(self) -> bool:
        """Whether the consumer runs and has a free slot."""
        return self.running and len(self._tasks) < self.at_once

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Call `broken` if the consumer's loop has ended unexpectedly: a worker that pulls no tasks must stop."""
        if not self._stopping:
            log.critical("consumer_broken", exc_info=None if loop.cancelled() else loop.exception())
            self.broken()

    async def _run(self) -> None:
        while True:
            grant = await self._pull()
            if grant is not None:
                await self._start(grant)
            await self._until_free()

    async def _until_free(self) -> None:
        """Wait until fewer than `at_once` messages are being handled.

        Raises:
            Exception: A handler has raised an error that it should have handled.
        """
        while len(self._tasks) >= self.at_once:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._collect()

    def _collect(self) -> None:
        ended = {task for task in self._tasks if task.done()}
        self._tasks -= ended
        for task in ended:
            task.result()

    async def _pull(self) -> Msg | None:
        """Open a pull request and wait for a grant; return None if the request fails, or expires without a grant."""
        try:
            # After an outage, a request that does not wait shows when JetStream answers again.
            within = LINGER_S if self._is_answered else 0.0
            grants = await self._inbox.pull(1, within=within, after_silence=self._offer_slot)
        except NatsError as error:
            if self._is_answered:
                log.warning("task_poll_failed", error=describe(error))
            else:
                await asyncio.sleep(RETRY_AFTER_S)
            self._is_answered = False
            return None
        if not self._is_answered:
            self.reached()
        self._is_answered = True
        self._collect()
        return next(iter(grants), None)

    async def _offer_slot(self) -> None:
        await self._nats.publish(subjects.FREE_SLOT, self.slots.encode())

    async def _start(self, message: Msg) -> None:
        """Start the handler of the task for which the scheduler has sent a grant, `message`.

        If the task message is gone, acknowledge the grant and notify the scheduler instead. If the grant or the task
        message cannot be read, reject the grant (nak), so that JetStream delivers it again. If the scheduler has sent
        the grant too early, because a clock was wrong, JetStream delivers it again until the task may start.
        """
        try:
            grant = read_grant(message.data)
            task = await self._messages.find(grant.subject, grant.sequence)
            if task is None:
                await message.ack()
                await self._messages.note_end(grant)
                return
            if early_by := await self._messages.seconds_until_due(task):
                await message.nak(delay=min(early_by, EARLY_AGAIN_AFTER_S))
                return
        except (NatsError, UnreadableError) as error:
            log.warning("granted_task_unread", error=describe(error))
            with suppress(NatsError):
                await message.nak(delay=RETRY_AFTER_S)
            return
        except asyncio.CancelledError:  # the worker stops
            with suppress(NatsError):
                await message.nak()
            raise
        handle = self.handlers[QUEUE_KEYS[task.subject]]
        self._tasks.add(asyncio.ensure_future(handle(task.as_delivered(message))))
