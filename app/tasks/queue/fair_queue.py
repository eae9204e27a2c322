"""The fair queue: which waiting task starts next, by priority and, within a priority, by seconds of audio per user.

Within a priority this is start-time fair queueing. Each user has a tag (the virtual start time of the next task): the
seconds of audio of the tasks started so far, divided by the user's weight. The waiting user with the lowest tag is
next, and the highest tag served so far is the virtual time. A user who begins to wait gets at least the virtual time as
tag. So nobody can save up turns, and a user who begins to wait waits for at most one task of each other waiting user.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from natscribe.schemas.wire import Priority, TaskType

from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.priority_order import PriorityOrder, served_before
from app.tasks.queue.user_queues import LEAST_S, User, UserQueue, UserQueues, charge_for

DEFAULT_S: Final = 60.0  # assumed duration of audio if neither the task nor earlier tasks of the user say more
RECENT_TASKS: Final = 20  # of a user, whose mean duration is assumed for a task of unknown duration


class Quota(NamedTuple):
    """The weight of a user in the order of tasks, and how many of the user's tasks may run and wait; 0: no limit."""

    weight: float = 1.0
    max_running: int = 0
    max_waiting: int = 0


class QueuedTask(NamedTuple):
    """A waiting or running task, as the values that decide when it starts."""

    user: User
    task_type: TaskType
    priority: Priority
    sequence: int  # stream sequence of the task message
    seconds: float = DEFAULT_S  # of audio, as charged to the user


class FairQueue:
    """Decides which waiting task starts next, and counts the waiting and running tasks of each user; does no I/O."""

    def __init__(self, quota: Callable[[User], Quota] = lambda _: Quota()) -> None:
        """Start without tasks; `quota` returns the current quota of a user, with a weight above 0."""
        self.waiting: Counter[User] = Counter()
        self.running: Counter[User] = Counter()
        self._served = defaultdict[User, float](float)  # seconds of audio / weight, since the last `take_served`
        self._quota = quota
        self._orders = {pool: PriorityOrder() for pool in SlotPool}
        self._users = {(pool, priority): UserQueues() for pool in SlotPool for priority in Priority}
        self._recent: dict[User, deque[float]] = {}  # durations of the latest tasks of each user who has tasks

    def add(self, task: QueuedTask) -> None:
        """Add a waiting task; a user's tasks of one priority wait in the order of their stream sequences.

        `task.seconds`: the duration of its audio; `nan`: unknown.
        """
        users, queue = self._of(task)
        queue.insert(task.task_type, task.sequence, task.seconds)
        self.waiting[task.user] += 1
        if len(queue) == 1:
            users.begin(queue)

    def put_back(self, task: QueuedTask) -> None:
        """Let a task that `next` has returned wait again, as it could not be started; undo the charge to its user."""
        _, queue = self._of(task)
        self._count(task, queue, -1)
        queue.insert(task.task_type, task.sequence, task.seconds)
        self.waiting[task.user] += 1
        self.reconsider(task.user)  # the user's limit may have kept tasks of other priorities out of the order

    def remove(self, task: QueuedTask) -> bool:
        """Remove a waiting task, for example because it was cancelled; return False if it was not waiting."""
        users, queue = self._of(task)
        index = queue.index(task.task_type, task.sequence)
        if index is not None:
            queue.remove(index)
            self.waiting[task.user] -= 1
        self._forget_if_idle(users, queue)
        return index is not None

    def __contains__(self, task: QueuedTask) -> bool:
        """Return whether a task is waiting."""
        queue = self._users[SlotPool.of(task.task_type), task.priority].queues.get(task.user)
        return queue is not None and queue.index(task.task_type, task.sequence) is not None

    def may_have_next(self, pool: SlotPool) -> bool:
        """Return False if no waiting task can start now in a slot of `pool`; True if one possibly can."""
        return any(self._users[pool, priority].has_entries for priority in Priority)

    def next(self, pool: SlotPool) -> QueuedTask | None:
        """Choose the next task for a slot of `pool`, and count it as running; None if no task may start."""
        order = self._orders[pool]
        for priority in order.current():
            users = self._users[pool, priority]
            queue = users.first(self.may_start)
            if queue is not None:
                order.note_served(priority)
                return self._start(priority, users, queue)
            order.note_empty(priority)
        return None

    def resume(self, task: QueuedTask) -> None:
        """Count a task that `next` has not returned as running, and charge its user `task.seconds` of audio.

        The caller does this for a task that was granted before the scheduler started, and for a task that is to be
        retried, because each attempt is charged.
        """
        self._count(task, self._of(task)[1])

    def settle(self, task: QueuedTask, seconds: float | None) -> None:
        """Count a running task as ended; `seconds`: the actual duration of its audio, None if unknown.

        At the start, the user was charged `task.seconds`, which may be an estimate. So the user's tag (virtual start
        time) is corrected by the difference to the actual duration. The tag does not fall below the virtual time, the
        highest tag of the users who have been served so far.
        """
        users, queue = self._of(task)
        queue.running -= 1
        self.running[task.user] -= 1
        if seconds is not None:
            self._recent.setdefault(task.user, deque(maxlen=RECENT_TASKS)).append(seconds)
            correction = (max(seconds, LEAST_S) - task.seconds) / self._weight(task.user)
            queue.tag = max(queue.tag + correction, users.virtual_time)
        self.reconsider(task.user)  # the tag or the number of running tasks has changed
        self._forget_if_idle(users, queue)

    def reconsider(self, user: User) -> None:
        """Update the place of a user's waiting tasks in the order.

        Call this after a change of the user's quota, tag (virtual start time) or number of running tasks. A user whose
        quota has let no task start meanwhile has saved up nothing: the tag is at least the virtual time.
        """
        for users in self._users.values():
            queue = users.queues.get(user)
            if queue:
                queue.tag = max(queue.tag, users.virtual_time)
                users.enter(queue)

    def before(self, task: QueuedTask) -> tuple[int, float] | None:
        """Estimate how many tasks start before a waiting task, and the seconds of their audio.

        Return None if the task is not waiting. The seconds are `nan` if the duration of one of the preceding tasks is
        unknown. The estimate is exact for the first COUNTED tasks of each user with the same priority.
        """
        pool = SlotPool.of(task.task_type)
        users = self._users[pool, task.priority]
        queue = users.queues.get(task.user)
        count = queue.index(task.task_type, task.sequence) if queue else None
        if queue is None or count is None:
            return None
        count, total = self._before_among_users(users, queue, count)
        waiting = {priority: len(self._users[pool, priority]) for priority in Priority}
        counts = served_before(waiting, task.priority, count)
        others = {other: number for other, number in counts.items() if number and other is not task.priority}
        total += sum(number * self._users[pool, other].mean_seconds for other, number in others.items())
        return sum(counts.values()), total

    def _before_among_users(self, users: UserQueues, queue: UserQueue, count: int) -> tuple[int, float]:
        """Estimate how many tasks of the same priority start before a task, and the seconds of their audio.

        `queue`: the queue of the task's user. `count`: how many waiting tasks of this user precede the task.
        """
        tag = queue.tag + queue.charge(count, self._expected(queue.user)) / self._weight(queue.user)
        total = queue.charge(count, math.nan)
        for other in users.queues.values():
            if other and other is not queue:
                room, expected = (tag - other.tag) * self._weight(other.user), self._expected(other.user)
                more = other.count_within(room, expected, is_earlier=other.place < queue.place)
                count, total = count + more, total + other.charge(more, math.nan)
        return count, total

    def _of(self, task: QueuedTask) -> tuple[UserQueues, UserQueue]:
        users = self._users[SlotPool.of(task.task_type), task.priority]
        return users, users.of(task.user)

    def take_served(self) -> "dict[User, float]":
        """Return, by user, the seconds of audio of tasks started since the last call, divided by the user's weight."""
        served, self._served = self._served, defaultdict(float)
        return served

    def waiting_seconds(self, user: User) -> float:
        """Estimate the total duration of the audio of a user's waiting tasks, in seconds.

        For each priority, the mean duration of the user's first COUNTED tasks is assumed for all tasks.
        """
        queues = [queue for users in self._users.values() if (queue := users.queues.get(user))]
        return sum(queue.charge(len(queue), self._expected(user)) for queue in queues)

    def may_start(self, user: User) -> bool:
        """Return whether fewer tasks of a user run than the quota allows."""
        limit = self._quota(user).max_running
        return not limit or self.running[user] < limit

    def _weight(self, user: User) -> float:
        return self._quota(user).weight

    def _expected(self, user: User) -> float:
        recent = self._recent.get(user)
        return sum(recent) / len(recent) if recent else DEFAULT_S

    def _start(self, priority: Priority, users: UserQueues, queue: UserQueue) -> QueuedTask:
        task_type, sequence, seconds = queue.pop_first()
        task = QueuedTask(queue.user, task_type, priority, sequence, charge_for(seconds, self._expected(queue.user)))
        self.waiting[queue.user] -= 1
        self._count(task, queue)
        if queue:
            users.enter(queue)
        return task

    def _count(self, task: QueuedTask, queue: UserQueue, times: int = 1) -> None:
        """Count a task as running, and charge its user `task.seconds` of audio; `times=-1` undoes both steps."""
        queue.running += times
        self.running[task.user] += times
        queue.tag += times * task.seconds / self._weight(task.user)
        self._served[task.user] += times * task.seconds / self._weight(task.user)

    def _forget_if_idle(self, users: UserQueues, queue: UserQueue) -> None:
        if not queue and not queue.running:
            users.queues.pop(queue.user, None)
        if not self.waiting[queue.user] and not self.running[queue.user]:
            self._recent.pop(queue.user, None)
            del self.waiting[queue.user], self.running[queue.user]
