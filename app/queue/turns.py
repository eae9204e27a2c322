"""Turns: which waiting task starts next: by priority and, within a priority, fairly among users by seconds of audio.

Within a priority this is start-time fair queueing. Each user has a tag (the virtual start time of the next task): the
seconds of audio of the tasks started so far, divided by the user's weight. The waiting user with the lowest tag is
next, and the highest tag served so far is the virtual time. A user who begins to wait gets at least the virtual time as
tag. So nobody can save up turns, and a user who begins to wait waits for at most one task of each other waiting user.
"""

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Final, NamedTuple

from natscribe.schemas.wire import Lane, Priority

from app.jetstream.slots import Slots
from app.queue.estimates import PriorityOrder, served_before
from app.queue.shares import LEAST_S, Share, Shares, User, charge_for

DEFAULT_S: Final = 60.0  # assumed duration of audio if neither the task nor earlier tasks of the user say more
RECENT_TASKS: Final = 20  # of a user, whose mean duration is assumed for a task of unknown duration


class Quota(NamedTuple):
    """The weight of a user in the order of tasks, and how many of the user's tasks may run and wait; 0: no limit."""

    weight: float = 1.0
    max_running: int = 0
    max_waiting: int = 0


class Turn(NamedTuple):
    """A waiting or running task, as the values that decide when it starts; `lane`: the kind of task."""

    user: User
    lane: Lane
    priority: Priority
    sequence: int  # stream sequence of the task message
    seconds: float = DEFAULT_S  # of audio, as charged to the user


class Turns:
    """Decides which waiting task starts next, and counts the waiting and running tasks of each user; does no I/O."""

    def __init__(self, quota: Callable[[User], Quota] = lambda _: Quota()) -> None:
        """Start without tasks; `quota` returns the current quota of a user, with a weight above 0."""
        self.waiting: Counter[User] = Counter()
        self.running: Counter[User] = Counter()
        self._served = defaultdict[User, float](float)  # seconds of audio / weight, since the last `take_served`
        self._quota = quota
        self._orders = {slots: PriorityOrder() for slots in Slots}
        self._queues = {(slots, priority): Shares() for slots in Slots for priority in Priority}
        self._recent: dict[User, deque[float]] = {}  # durations of the latest tasks of each user who has tasks

    def add(self, turn: Turn) -> None:
        """Add a waiting task; a user's tasks of one priority wait in the order of their stream sequences.

        `turn.seconds`: the duration of its audio; `nan`: unknown.
        """
        queue, share = self._of(turn)
        share.insert(turn.lane, turn.sequence, turn.seconds)
        self.waiting[turn.user] += 1
        if len(share) == 1:
            queue.begin(share)

    def put_back(self, turn: Turn) -> None:
        """Let a task that `next` has returned wait again, as it could not be started; undo the charge to its user."""
        _, share = self._of(turn)
        self._count(turn, share, -1)
        share.insert(turn.lane, turn.sequence, turn.seconds)
        self.waiting[turn.user] += 1
        self.reconsider(turn.user)  # the user's limit may have kept tasks of other queues out of the order

    def remove(self, turn: Turn) -> bool:
        """Remove a waiting task, for example because it was cancelled; return False if it was not waiting."""
        queue, share = self._of(turn)
        index = share.index(turn.lane, turn.sequence)
        if index is not None:
            share.remove(index)
            self.waiting[turn.user] -= 1
        self._forget_if_idle(queue, share)
        return index is not None

    def __contains__(self, turn: Turn) -> bool:
        """Return whether a task is waiting."""
        share = self._queues[Slots.of(turn.lane), turn.priority].shares.get(turn.user)
        return share is not None and share.index(turn.lane, turn.sequence) is not None

    def waits(self, slots: Slots) -> bool:
        """Return False if no waiting task can start now in a slot of the kind `slots`; True if one possibly can."""
        return any(self._queues[slots, priority].is_entered for priority in Priority)

    def next(self, slots: Slots) -> Turn | None:
        """Choose the next task for a slot of the kind `slots`, and count it as running; None if no task may start."""
        order = self._orders[slots]
        for priority in order.current():
            queue = self._queues[slots, priority]
            share = queue.first(self.may_start)
            if share is not None:
                order.note_served(priority)
                return self._start(priority, queue, share)
            order.note_empty(priority)
        return None

    def resume(self, turn: Turn) -> None:
        """Count a task that `next` has not returned as running, and charge its user `turn.seconds` of audio.

        The caller does this for a task that was granted before the scheduler started, and for a task that is to be
        retried, because each attempt is charged.
        """
        self._count(turn, self._of(turn)[1])

    def settle(self, turn: Turn, seconds: float | None) -> None:
        """Count a running task as ended; `seconds`: the actual duration of its audio, None if unknown.

        At the start, the user was charged `turn.seconds`, which may be an estimate. So the user's tag (virtual start
        time) is corrected by the difference to the actual duration. The tag does not fall below the virtual time of the
        queue, the highest tag of the users who have been served so far.
        """
        queue, share = self._of(turn)
        share.running -= 1
        self.running[turn.user] -= 1
        if seconds is not None:
            self._recent.setdefault(turn.user, deque(maxlen=RECENT_TASKS)).append(seconds)
            correction = (max(seconds, LEAST_S) - turn.seconds) / self._weight(turn.user)
            share.tag = max(share.tag + correction, queue.virtual_time)
        self.reconsider(turn.user)  # the tag or the number of running tasks has changed
        self._forget_if_idle(queue, share)

    def reconsider(self, user: User) -> None:
        """Update the place of a user's waiting tasks in the order.

        Call this after a change of the user's quota, tag (virtual start time) or number of running tasks.
        """
        for queue in self._queues.values():
            share = queue.shares.get(user)
            if share:
                queue.enter(share)

    def before(self, turn: Turn) -> tuple[int, float] | None:
        """Estimate how many tasks start before a waiting task, and the seconds of their audio.

        Return None if the task is not waiting. The seconds are `nan` if the duration of one of the preceding tasks is
        unknown. The estimate is exact for the first COUNTED tasks of each user with the same priority.
        """
        slots = Slots.of(turn.lane)
        queue = self._queues[slots, turn.priority]
        share = queue.shares.get(turn.user)
        count = share.index(turn.lane, turn.sequence) if share else None
        if share is None or count is None:
            return None
        count, total = self._before_among_users(queue, share, count)
        waiting = {priority: len(self._queues[slots, priority]) for priority in Priority}
        counts = served_before(waiting, turn.priority, count)
        others = {other: number for other, number in counts.items() if number and other is not turn.priority}
        total += sum(number * self._queues[slots, other].mean_seconds for other, number in others.items())
        return sum(counts.values()), total

    def _before_among_users(self, queue: Shares, share: Share, count: int) -> tuple[int, float]:
        """Estimate how many tasks of the same priority start before a task, and the seconds of their audio.

        `share`: the share of the task's user. `count`: how many waiting tasks of this user precede the task.
        """
        tag = share.tag + share.charge(count, self._expected(share.user)) / self._weight(share.user)
        total = share.charge(count, math.nan)
        for other in queue.shares.values():
            if other and other is not share:
                room, expected = (tag - other.tag) * self._weight(other.user), self._expected(other.user)
                more = other.count_within(room, expected, is_earlier=other.place < share.place)
                count, total = count + more, total + other.charge(more, math.nan)
        return count, total

    def _of(self, turn: Turn) -> tuple[Shares, Share]:
        queue = self._queues[Slots.of(turn.lane), turn.priority]
        return queue, queue.of(turn.user)

    def take_served(self) -> "dict[User, float]":
        """Return, by user, the seconds of audio of tasks started since the last call, divided by the user's weight."""
        served, self._served = self._served, defaultdict(float)
        return served

    def waiting_seconds(self, user: User) -> float:
        """Estimate the total duration of the audio of a user's waiting tasks, in seconds.

        For each priority, the mean duration of the user's first COUNTED tasks is assumed for all tasks.
        """
        shares = [share for queue in self._queues.values() if (share := queue.shares.get(user))]
        return sum(share.charge(len(share), self._expected(user)) for share in shares)

    def may_start(self, user: User) -> bool:
        """Return whether fewer tasks of a user run than the quota allows."""
        limit = self._quota(user).max_running
        return not limit or self.running[user] < limit

    def _weight(self, user: User) -> float:
        return self._quota(user).weight

    def _expected(self, user: User) -> float:
        recent = self._recent.get(user)
        return sum(recent) / len(recent) if recent else DEFAULT_S

    def _start(self, priority: Priority, queue: Shares, share: Share) -> Turn:
        lane, sequence, seconds = share.pop_first()
        turn = Turn(share.user, lane, priority, sequence, charge_for(seconds, self._expected(share.user)))
        self.waiting[share.user] -= 1
        self._count(turn, share)
        if share:
            queue.enter(share)
        return turn

    def _count(self, turn: Turn, share: Share, times: int = 1) -> None:
        """Count a task as running, and charge its user `turn.seconds` of audio; `times=-1` undoes both steps."""
        share.running += times
        self.running[turn.user] += times
        share.tag += times * turn.seconds / self._weight(turn.user)
        self._served[turn.user] += times * turn.seconds / self._weight(turn.user)

    def _forget_if_idle(self, queue: Shares, share: Share) -> None:
        if not share and not share.running:
            queue.shares.pop(share.user, None)
        if not self.waiting[share.user] and not self.running[share.user]:
            self._recent.pop(share.user, None)
            del self.waiting[share.user], self.running[share.user]
