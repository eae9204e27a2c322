"""The scheduler: grants waiting tasks to free slots of the workers, in the order of their turns.

Only the holder of the lease runs it. Its memory is disposable: the next holder reads the grants and the task queues.
"""

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames

from app.cancellation import cancel_all, despite_cancellation
from app.errors import TransientError
from app.jetstream.records import UnreadableError
from app.jetstream.slots import Slots
from app.queue.grants import Grant, Grants, read_grant
from app.queue.positions import QUESTION, REPLY, Before
from app.queue.priorities import QUEUE_KEYS
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages
from app.queue.turns import Quota, Turn, Turns, User
from app.supervision import run_forever

RETRY_AFTER_S: Final = 0.25  # pause after an outage
WAKE_EVERY_S: Final = 1.0  # free slots are counted at least this often while tasks wait
SLOT_WITHIN_S: Final = 0.1  # how long after its notice a free slot may become visible
POLL_SLOTS_EVERY_S: Final = 0.001
UNSEEN_FOR_S: Final = 2.0  # after its publication, a grant is visible at its consumer
NEW_FOR: Final = timedelta(minutes=1)  # only newer tasks are rejected: a lower limit ends no task that waits
AUDIT_EVERY_S: Final = 10.0
READ_WITHIN_S, READ_CHECKED_EVERY_S = 0.3, 0.005
AUDITED: Final = 64  # of the oldest messages, besides those with a grant

log = structlog.get_logger()


class Scheduler:
    """Grants waiting tasks to free slots of the workers, in the order of their turns."""

    def __init__(  # noqa: PLR0913 -- three components and three callbacks
        self,
        nats: Client,
        names: StreamNames,
        messages: TaskMessages,
        *,
        quota: Callable[[User], Quota] = lambda _: Quota(),
        reject: Callable[[StoredMessage, Quota], Awaitable[bool]] | None = None,
        report_due: Callable[[StoredMessage], None] = lambda _: None,
    ) -> None:
        """Create a scheduler; `run` does its work.

        `quota`: returns what a user may use. `reject`: fails the task of a user who has too many waiting tasks, and
        returns whether the task was waiting; None: no task is rejected. `report_due`: called with the message of each
        scheduled task that has become due.
        """
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self._messages = messages
        self._grants = Grants(nats, names)
        self._quota = quota
        self._reject = reject
        self._report_due = report_due
        self._forget()

    def _forget(self) -> None:
        self.turns = Turns(self._quota)
        self.granted: dict[int, Turn] = {}  # by the stream sequence of the task message
        self._granted_at: dict[int, float] = {}
        self.later: list[tuple[float, int]] = []  # a heap of tasks that may not start yet: time and stream sequence
        self.scheduled: dict[int, str] = {}  # the subjects of these tasks, by stream sequence
        self._scheduled = asyncio.Event()  # `later` or the clock has changed
        self._rejected = asyncio.Queue[tuple[Turn, Quota]]()
        self._rejecting = set[int]()  # the stream sequences of these tasks
        self._read_to = dict.fromkeys(QUEUE_KEYS, 0)
        self._news = {subject: asyncio.Event() for subject in QUEUE_KEYS}  # the queue may have new messages
        self._wake = {slots: asyncio.Event() for slots in Slots}
        self._slot_due = dict.fromkeys(Slots, -math.inf)  # until when a free slot may become visible
        self._freed = dict.fromkeys(Slots, 0)  # slots whose tasks have ended a moment ago
        self.ahead = dict.fromkeys(Slots, 0)  # grants that wait for slots which are not free yet
        self._counted_at = dict.fromkeys(Slots, -math.inf)
        self._unseen = {slots: deque[tuple[int, float]]() for slots in Slots}  # grants that a consumer may not show yet
        self._clock_ahead = timedelta()  # of the NATS server

    def reconsider(self, user: User) -> None:
        """Apply the current quota of a user."""
        self.turns.reconsider(user)
        for wake in self._wake.values():
            wake.set()

    async def run(self) -> None:
        """Grant tasks until cancelled.

        Raises:
            NatsError: NATS does not answer.
        """
        self._forget()
        subscriptions: list[Subscription] = []
        working: list[asyncio.Task[None]] = []
        try:
            for subject, handle in self._notices().items():
                subscriptions.append(await self._nats.subscribe(subject, cb=partial(_receive, handle)))
            self._clock_ahead = await self._messages.now() - datetime.now(UTC)
            for grant in await self._grants.all():
                self._note_granted(grant.turn)
                self.turns.resume(grant.turn)
            self._look_for_news()
            working += [asyncio.create_task(work) for work in self._work()]
            await asyncio.gather(*working)
        finally:
            await despite_cancellation(self._stop(working, subscriptions))

    async def _stop(self, working: list[asyncio.Task[None]], subscriptions: list[Subscription]) -> None:
        await cancel_all(working)
        for subscription in subscriptions:
            with suppress(NatsError):  # the connection is closed
                await subscription.unsubscribe()

    def _notices(self) -> dict[str, Callable[[Msg], Awaitable[None]]]:
        return {
            subjects.ALL_ACCEPTED: self._accepted,
            subjects.FREE_SLOT: self._slot_freed,
            subjects.REMOVED: self._removed,
            subjects.POSITIONS: self._reply_positions,
        }

    def _work(self) -> list[Coroutine[None, None, None]]:
        def forever(name: str, work: Callable[[], Awaitable[None]]) -> Coroutine[None, None, None]:
            return run_forever(name, work, every_s=0, retry_after_s=RETRY_AFTER_S)

        return [
            *(forever("scheduler_reading", partial(self._read, subject)) for subject in QUEUE_KEYS),
            *(forever("scheduler_grants", partial(self._grant_waiting, slots)) for slots in Slots),
            forever("scheduler_due_tasks", self._admit_due),
            forever("scheduler_rejections", self._reject_next),
            run_forever("scheduler_audit", self._audit, every_s=AUDIT_EVERY_S),
        ]

    def _look_for_news(self) -> None:
        for news in self._news.values():
            news.set()

    async def _accepted(self, message: Msg) -> None:
        queue = self._news.get((message.headers or {}).get("Nats-Subject", ""))
        if queue is not None:
            queue.set()

    async def _slot_freed(self, message: Msg) -> None:
        slots = Slots(message.data.decode())
        self._slot_due[slots] = asyncio.get_running_loop().time() + SLOT_WITHIN_S
        self._wake[slots].set()

    async def _removed(self, message: Msg) -> None:
        grant = read_grant(message.data)
        turn = self.granted.pop(grant.sequence, None)
        if turn is not None:
            self.turns.settle(turn, grant.seconds)
            slots = Slots.of(turn.lane)
            self._freed[slots] += self.turns.waits(slots)
            self._wake[slots].set()
        else:
            self.scheduled.pop(grant.sequence, None)
            self.turns.remove(grant.turn)

    async def _reply_positions(self, message: Msg) -> None:
        before: list[Before] = []
        for grant in QUESTION.validate_json(message.data):
            await self._wait_until_read(grant)
            before.append((0, 0.0) if grant.sequence in self.granted else self.turns.before(grant.turn))
        await message.respond(REPLY.dump_json(before))

    async def _wait_until_read(self, grant: Grant) -> None:
        """Wait until the message of a task is read, but not for long; in any case, let other work go first."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READ_WITHIN_S
        await asyncio.sleep(0)
        while self._read_to.get(grant.subject, grant.sequence) < grant.sequence and loop.time() < deadline:  # noqa: ASYNC110 -- no event
            await asyncio.sleep(READ_CHECKED_EVERY_S)

    async def _read(self, subject: str) -> None:
        """Wait until a queue may have new messages, and read them."""
        await self._news[subject].wait()
        self._news[subject].clear()
        try:
            async for messages in self._messages.pages_after(self._read_to[subject], subject):
                for message in messages:
                    self._learn(message)
                self._read_to[subject] = messages[-1].sequence
        except NatsError:
            self._news[subject].set()
            raise

    def _learn(self, message: StoredMessage) -> None:
        """Let the task of a stored message wait for its turn, or for its time."""
        if message.sequence in self.granted or message.sequence in self._rejecting:
            return
        seconds, user = message.audio_seconds, message.user
        turn = Turn(user, message.lane, message.priority, message.sequence, math.nan if seconds is None else seconds)
        due_at = message.due_at if b"not_before" in message.body else message.time
        quota, is_new = self._quota(user), self._now - due_at < NEW_FOR
        if self._is_later(message):
            heapq.heappush(self.later, (due_at.timestamp(), message.sequence))
            self.scheduled[message.sequence] = message.subject
            self._scheduled.set()
        elif is_new and self._reject is not None and 0 < quota.max_waiting <= self.turns.waiting[user]:
            self._rejecting.add(message.sequence)
            self._rejected.put_nowait((turn, quota))
        else:
            self._admit(turn)

    def _admit(self, turn: Turn) -> None:
        self.turns.add(turn)
        self._wake[Slots.of(turn.lane)].set()

    async def _reject_next(self) -> None:
        """Fail the next task of a user who has too many waiting tasks; if the task does not wait, a worker settles it.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream or Redis does not answer.
        """
        turn, quota = await self._rejected.get()
        try:
            message = await self._messages.find(None, turn.sequence)
            is_rejected = message is None or self._reject is None or await self._reject(message, quota)
        except (NatsError, TransientError):
            self._rejected.put_nowait((turn, quota))
            raise
        self._rejecting.discard(turn.sequence)
        if not is_rejected:
            self._admit(turn)

    @property
    def _now(self) -> datetime:
        return datetime.now(UTC) + self._clock_ahead

    def _is_later(self, message: StoredMessage) -> bool:
        return b"not_before" in message.body and message.due_at > max(self._now, message.time)

    async def _admit_due(self) -> None:
        """Let the tasks wait for their turn whose time has come; wait for the next time.

        Raises:
            NatsError: NATS does not answer.
        """
        while self.later and self.later[0][0] <= self._now.timestamp():
            due = heapq.heappop(self.later)
            if due[1] not in self.scheduled:
                continue  # it was cancelled
            try:
                message = await self._messages.find(None, due[1])
            except NatsError:
                heapq.heappush(self.later, due)
                raise
            self.scheduled.pop(due[1], None)
            if message is not None and not self._knows(message):
                self._learn(message)
                self._report_due(message)
        self._scheduled.clear()
        next_in = max(self.later[0][0] - self._now.timestamp(), 0.0) if self.later else None
        with suppress(TimeoutError):
            async with asyncio.timeout(next_in):
                await self._scheduled.wait()

    async def _grant_waiting(self, slots: Slots) -> None:
        """Wait until there may be free slots and waiting tasks, and grant as many tasks as there are free slots."""
        with suppress(TimeoutError):
            async with asyncio.timeout(WAKE_EVERY_S if self.turns.waits(slots) else None):
                await self._wake[slots].wait()
                self._wake[slots].clear()
        loop, freed = asyncio.get_running_loop(), self._freed[slots]
        self._freed[slots] = 0
        free = max(freed - self.ahead[slots], 0)
        self.ahead[slots] -= freed - free
        await self._grant(slots, free)
        if freed and self._counted_at[slots] > loop.time() - WAKE_EVERY_S:
            return
        while self.turns.waits(slots):
            due = self._slot_due[slots] > loop.time()
            if await self._grant(slots, await self._free(slots)):
                self._slot_due[slots] = -math.inf
            elif due:
                await asyncio.sleep(POLL_SLOTS_EVERY_S)
            else:
                return

    async def _free(self, slots: Slots) -> int:
        """Return for how many free slots there is no grant yet."""
        free, undelivered, delivered = await self._grants.slots(slots)
        unseen, now = self._unseen[slots], asyncio.get_running_loop().time()
        self._counted_at[slots] = now
        while unseen and (unseen[0][0] <= delivered or unseen[0][1] < now - UNSEEN_FOR_S):
            unseen.popleft()
        free -= max(undelivered, len(unseen))
        self.ahead[slots] = max(-free, 0)
        return free

    async def _grant(self, slots: Slots, count: int) -> int:
        """Grant up to `count` tasks; return how many.

        Raises:
            NatsError: NATS does not answer.
        """
        granted = 0
        while granted < count and (turn := self.turns.next(slots)) is not None:
            self._note_granted(turn)
            try:
                sequence = await self._grants.publish(turn)
            except NatsError:
                if self.granted.pop(turn.sequence, None) is not None:
                    self.turns.put_back(turn)
                raise
            if sequence is not None:
                self._unseen[slots].append((sequence, asyncio.get_running_loop().time()))
            granted += 1
        return granted

    def _note_granted(self, turn: Turn) -> None:
        self.granted[turn.sequence] = turn
        self._granted_at[turn.sequence] = asyncio.get_running_loop().time()

    async def _audit(self) -> None:
        """Notice tasks whose announcement or removal was missed, and tasks whose grant was lost.

        Raises:
            NatsError: NATS does not answer.
        """
        self._look_for_news()
        self._clock_ahead = await self._messages.now() - datetime.now(UTC)
        self._scheduled.set()  # a clock may have been set
        started = asyncio.get_running_loop().time()
        stored = {grant.sequence: grant.turn for grant in await self._grants.all()}
        for sequence, turn in list(self.granted.items()):
            if sequence not in stored and self._granted_at[sequence] < started:
                del self.granted[sequence]
                self.turns.settle(turn, None)
                self._wake[Slots.of(turn.lane)].set()
        self._granted_at = {sequence: at for sequence, at in self._granted_at.items() if sequence in self.granted}
        for message in await self._messages.page_after(subjects.ALL_TASKS, 0, count=len(stored) + AUDITED):
            is_read = message.sequence <= self._read_to[message.subject]
            if is_read and not self._knows(message):
                self._learn(message)

    def _knows(self, message: StoredMessage) -> bool:
        turn = Turn(message.user, message.lane, message.priority, message.sequence)
        return message.sequence in self.granted or turn in self.turns or self._is_later(message)


async def _receive(handle: Callable[[Msg], Awaitable[None]], message: Msg) -> None:
    """Handle a notice, unless a client has forged it, or a worker of another version has sent it."""
    with suppress(ValueError, UnreadableError):
        await handle(message)
