"""The scheduler: lets waiting tasks start, by publishing a grant for each free slot of the workers.

A grant is a message that lets a worker start one task, and a slot is a worker's room for one running task. Only the
worker that holds the lease (the elected leader) runs the scheduler. It stores no state of its own: the next holder
reads the grants and the task queues from JetStream.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.stream_names import StreamNames

from app.runtime.cancellation import cancel_all, despite_cancellation
from app.runtime.supervision import run_forever, wait_up_to
from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.fair_queue import FairQueue, QueuedTask, Quota
from app.tasks.queue.free_slots import FreeSlots
from app.tasks.queue.grants import Ended, Grants, all_grants
from app.tasks.queue.positions import QUESTION, REPLY, Before
from app.tasks.queue.queue_reader import QUEUE_KEYS
from app.tasks.queue.quotas import exceeded
from app.tasks.queue.scheduled_tasks import ScheduledTasks
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.queue.user_queues import User

RETRY_AFTER_S: Final = 0.25  # pause after an outage
WAKE_EVERY_S: Final = 1.0  # free slots are counted at least this often while tasks wait
REJECT_EVERY_S: Final = 0.05
DUE_EVERY_S: Final = 0.25  # pause between two searches for scheduled tasks that are due
NEW_FOR: Final = timedelta(minutes=1)  # only newer tasks are rejected: a lower limit ends no task that waits
AUDIT_EVERY_S: Final = 5.0  # of the grants
REREAD_EVERY_S: Final = 1.0
STREAM_READ_EVERY_S: Final = 1.0
READ_WITHIN_S, READ_CHECKED_EVERY_S = 0.3, 0.005
PAUSED_S: Final = 0.2  # in all, while the positions of tasks are computed
COMPUTED_WITHIN_S: Final = 0.8  # positions; who requests them waits for a second
LARGE_PAGE: Final = 50  # messages
ACTIVE_FOR_S: Final = 0.1  # after a notice: tasks start, or are about to
PAUSE: Final = 6  # after a large page, while tasks start: this many times as long as reading the page took
REREAD: Final = 40  # task messages; the next time continues where the last one has ended


@dataclass(eq=False)
class Scheduler:
    """Grants waiting tasks to free slots of the workers, by priority and fairly among users: see `FairQueue`.

    `quota`: returns the quota of a user. `reject`: called with the message of a task that exceeds its user's limit of
    waiting tasks, and with the error. It fails the task, or returns False if it cannot; then the task waits like
    others. `report_waiting`: called with the message of each waiting task whose log may lack an event: a scheduled task
    that has become due, or a task without a grant that the periodic `_reread` reads.
    """

    nats: Client
    names: StreamNames
    messages: TaskMessages
    grants: Grants
    quota: Callable[[User], Quota]
    reject: Callable[[StoredMessage, ErrorDetail], Awaitable[bool]]
    report_waiting: Callable[[StoredMessage], None]

    def __post_init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self.queue = FairQueue(self.quota)
        self.granted: dict[int, QueuedTask] = {}  # by the stream sequence of the task message
        self.scheduled = ScheduledTasks()
        self.free = {pool: FreeSlots(self.nats, self.names, pool) for pool in SlotPool}
        self._rejected: dict[int, tuple[QueuedTask, Quota]] = {}  # tasks that are about to fail, by stream sequence
        self._read_to = dict.fromkeys(QUEUE_KEYS, 0)
        self._granted_before: list[QueuedTask] = []  # at the end of the last audit
        self._reread_to = 0
        self._just_ended: set[int] = set()  # stream sequences of tasks that have ended since `_reread` began
        self._news = {subject: asyncio.Event() for subject in QUEUE_KEYS}  # the queue may have new messages
        self._server_time, self._server_time_at = datetime.now(UTC), monotonic()  # as last read, and when
        self._noticed_at = -math.inf  # when the latest notice was received

    def reconsider(self, user: User) -> None:
        """Order a user's waiting tasks again after a change of the user's quota, and wake the scheduler."""
        self.queue.reconsider(user)
        self._look_everywhere()

    async def run(self) -> None:
        """Let waiting tasks start in free slots of the workers, until cancelled.

        Return once the task stream has been recreated; the caller then has to call `run` again.

        Raises:
            NatsError: NATS does not answer.
            UnreadableError: Another version of the service has written a grant.
        """
        self._forget()
        subscriptions: list[Subscription] = []
        working: list[asyncio.Task[None]] = []
        try:
            for subject, handle in (
                (subjects.ALL_ACCEPTED, self._accepted),
                (subjects.REMOVED, self._ended),
                (subjects.POSITIONS, self._reply_positions),
            ):
                subscriptions.append(await self.nats.subscribe(subject, cb=partial(self._receive, handle)))
            created = await self._read_stream()
            for grant in await all_grants(self.nats, self.names):
                self.granted[grant.sequence] = grant.queued_task
                self.queue.resume(grant.queued_task)
            self._look_everywhere()
            working += [asyncio.create_task(work) for work in self._work()]
            await self._until_recreated(created)
        finally:
            await despite_cancellation(self._stop(working, subscriptions))

    async def _stop(self, working: list[asyncio.Task[None]], subscriptions: list[Subscription]) -> None:
        await cancel_all(working)
        for subscription in subscriptions:
            with suppress(NatsError):  # the connection is closed
                await subscription.unsubscribe()

    async def _receive(self, handle: Callable[[Msg], Awaitable[None]], message: Msg) -> None:
        """Pass a notice for the scheduler to `handle`; ignore one that cannot be parsed, e.g. of another version."""
        self._noticed_at = monotonic()
        with suppress(ValueError):
            await handle(message)

    def _work(self) -> list[Coroutine[None, None, None]]:
        forever = partial(run_forever, retry_after_s=RETRY_AFTER_S)
        return [
            *(forever("scheduler_reading", partial(self._read, subject), every_s=0) for subject in QUEUE_KEYS),
            *(forever("scheduler_grants", partial(self._grant_waiting, pool), every_s=0) for pool in SlotPool),
            forever("scheduler_rejections", self._reject, every_s=REJECT_EVERY_S),
            forever("scheduler_due_tasks", self._admit_due, every_s=DUE_EVERY_S),
            forever("scheduler_audit", self._audit_grants, every_s=AUDIT_EVERY_S),
            forever("scheduler_rereading", self._reread, every_s=REREAD_EVERY_S),
        ]

    async def _until_recreated(self, created: datetime) -> None:
        """Wait until the task stream, created at `created`, has been recreated, so that its sequences restart at 1.

        Meanwhile, regularly read the time of the NATS server.
        """
        while True:
            await asyncio.sleep(STREAM_READ_EVERY_S)
            with suppress(NatsError):
                if await self._read_stream() != created:
                    return

    async def _read_stream(self) -> datetime:
        """Return the creation time of the task stream; note the time of the NATS server."""
        stream = await self.messages.stream_times()
        self._server_time, self._server_time_at = stream.now, monotonic()
        return stream.created

    def _look_everywhere(self) -> None:
        for event in [*self._news.values(), *(free.changed for free in self.free.values())]:
            event.set()

    async def _accepted(self, message: Msg) -> None:
        subject = (message.headers or {}).get("Nats-Subject", "")
        if subject in self._news:
            self._news[subject].set()

    async def _ended(self, message: Msg) -> None:
        ended = Ended.model_validate_json(message.data)
        if not ended.is_retried:
            self._just_ended.add(ended.sequence)
        task = self.granted.get(ended.sequence)
        if task is None:
            self.scheduled.remove(ended.sequence)
            self.queue.remove(ended.queued_task)
        else:
            if ended.is_retried:  # its user is charged for each attempt
                self.queue.resume(task)
            else:
                del self.granted[ended.sequence]
            self.queue.settle(task, ended.seconds)
        free = self.free[SlotPool.of(ended.queued_task.task_type)]
        free.count += ended.frees_slot
        free.changed.set()

    async def _reply_positions(self, message: Msg) -> None:
        """Reply for each task in the request how many tasks start before it, and their seconds of audio.

        If the scheduler has not read the message of a task yet, wait for it; all waits together take at most
        READ_WITHIN_S. Between two tasks, pause for PAUSE times as long as the computation took, so that tasks can
        start; all pauses together take about PAUSED_S. After COMPUTED_WITHIN_S the remaining positions are None.
        """
        before, took = list[Before](), 0.0
        read_until, computed_until = monotonic() + READ_WITHIN_S, monotonic() + COMPUTED_WITHIN_S
        grants = QUESTION.validate_json(message.data)
        for grant in grants:
            if monotonic() > computed_until:
                break
            await asyncio.sleep(min(PAUSE * took, PAUSED_S / len(grants)))
            while self._read_to.get(grant.subject, grant.sequence) < grant.sequence and monotonic() < read_until:  # noqa: ASYNC110 -- no event
                await asyncio.sleep(READ_CHECKED_EVERY_S)
            began = monotonic()
            before.append((0, 0.0) if grant.sequence in self.granted else self.queue.before(grant.queued_task))
            took = monotonic() - began
        before += [None] * (len(grants) - len(before))
        await message.respond(REPLY.dump_json(before))

    async def _read(self, subject: str) -> None:
        """Wait until the queue `subject` may have new messages, then read them and pass each to `_learn`."""
        await self._news[subject].wait()
        self._news[subject].clear()
        began = monotonic()
        try:
            async for messages in self.messages.pages_after(self._read_to[subject], subject):
                for message in messages:
                    self._learn(message)
                self._read_to[subject] = messages[-1].sequence
                if len(messages) >= LARGE_PAGE and self._noticed_at > monotonic() - ACTIVE_FOR_S:
                    await asyncio.sleep(PAUSE * (monotonic() - began))
                began = monotonic()
        except NatsError:
            self._news[subject].set()
            raise

    def _learn(self, message: StoredMessage) -> None:
        """Add the task of a stored message to the waiting tasks or, before its start time, to the scheduled ones.

        Do nothing if the scheduler already knows the task.
        """
        task, due_at = message.queued_task, message.due_at
        is_known = task.sequence in self.granted or task.sequence in self.scheduled or task.sequence in self._rejected
        if is_known or task in self.queue:
            return
        if due_at > max(self._now, message.time):
            self.scheduled.add(message.sequence, message.subject, due_at)
        else:
            self._admit(task, due_at)

    def _admit(self, task: QueuedTask, due_at: datetime) -> None:
        """Add a task to the waiting ones, or mark it for rejection if its user already has too many waiting tasks.

        `due_at`: the earliest time at which the task may start. A task that has been due for longer than NEW_FOR is not
        rejected, so that a lower limit does not fail tasks that already wait.
        """
        quota = self.quota(task.user)
        if 0 < quota.max_waiting <= self.queue.waiting[task.user] and self._now - due_at < NEW_FOR:
            self._rejected[task.sequence] = task, quota
        else:
            self._let_wait(task)

    def _let_wait(self, task: QueuedTask) -> None:
        self.queue.add(task)
        self.free[SlotPool.of(task.task_type)].changed.set()

    async def _reject(self) -> None:
        """Fail the tasks that `_admit` has marked because their users have too many waiting tasks.

        A task that cannot be failed, e.g. because its message is invalid, waits like others; the worker that receives
        the message settles it.
        """
        for sequence, (task, quota) in list(self._rejected.items()):
            self._rejected[sequence] = self._rejected.pop(sequence)  # the last one now: if it fails, others are first
            message = await self.messages.find(None, sequence)
            is_rejected = message is None or await self.reject(message, exceeded(quota))
            del self._rejected[sequence]
            if not is_rejected:
                self._let_wait(task)

    @property
    def _now(self) -> datetime:
        """The time of the NATS server: this worker's system clock, which may be set, has no influence on it."""
        return self._server_time + timedelta(seconds=monotonic() - self._server_time_at)

    async def _admit_due(self) -> None:
        """Admit the scheduled tasks whose start time has come: from now on they wait for a slot, like other tasks."""
        while (sequence := self.scheduled.first_due(self._now)) is not None:
            message = await self.messages.find(None, sequence)
            if self.scheduled.remove(sequence) and message is not None:
                self._admit(message.queued_task, message.due_at)
                self.report_waiting(message)

    async def _grant_waiting(self, pool: SlotPool) -> None:
        """Wait until there may be free slots of one kind and tasks for them; grant a task to each free slot."""
        free = self.free[pool]
        await wait_up_to(WAKE_EVERY_S if self.queue.may_have_next(pool) else None, free.changed)
        free.changed.clear()
        is_counted = free.count > 0 and free.is_current
        await self._grant_to_free_slots(pool)  # to slots whose tasks have just ended
        if self.queue.may_have_next(pool) and not is_counted:
            await free.read()
            await self._grant_to_free_slots(pool)
        free.count = min(free.count, 0)  # slots that no task needs now are counted again, for workers may go

    async def _grant_to_free_slots(self, pool: SlotPool) -> None:
        """Grant a waiting task to each free slot of one kind, as long as there are tasks."""
        while self.free[pool].count > 0 and (task := self.queue.next(pool)) is not None:
            self.granted[task.sequence] = task
            try:
                self.free[pool].take(await self.grants.publish(task))
            except NatsError:
                if self.granted.pop(task.sequence, None) is not None:
                    self.queue.put_back(task)
                raise

    async def _audit_grants(self) -> None:
        """Correct which tasks are granted, in case the scheduler has missed notices.

        If the grant of a granted task is no longer stored, the task has ended or, if its message is still stored, waits
        again.
        """
        stored = {grant.sequence for grant in await all_grants(self.nats, self.names)}
        for task in self._granted_before:
            if task.sequence not in stored and self.granted.get(task.sequence) is task:
                message = await self.messages.find(None, task.sequence)
                if self.granted.get(task.sequence) is task:  # it has not ended meanwhile
                    del self.granted[task.sequence]
                    self.queue.settle(task, None)
                    self._learn_again([] if message is None else [message])
        self._granted_before = list(self.granted.values())
        self._look_everywhere()

    async def _reread(self) -> None:
        """Read the next REREAD stored task messages, and add tasks that the scheduler does not know: it missed them."""
        self._just_ended.clear()
        messages = await self.messages.page_after(subjects.ALL_TASKS, self._reread_to, count=REREAD)
        self._reread_to = messages[-1].sequence if messages else 0
        self._learn_again([message for message in messages if message.sequence not in self._just_ended])

    def _learn_again(self, messages: list[StoredMessage]) -> None:
        for message in messages:
            self._learn(message)
            if message.sequence not in self.granted:
                self.report_waiting(message)
