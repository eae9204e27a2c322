"""Turns: which waiting task starts next, by priority and, within a priority, by the seconds of audio of each user.

Start-time fair queueing: each user has a tag, the seconds of audio served so far divided by the user's weight. The
waiting user with the lowest tag is next. A user who begins to wait starts at the tag that was served last, the virtual
time, so nobody can save up turns, and nobody who begins waits for more than one task of each other waiting user.
"""

import heapq
import math
from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

from natscribe.schemas.wire import Lane, Priority

User = int | str | None  # None: of a message without a valid user id
PATIENCE: Final = {Priority.NORMAL: 3, Priority.LOW: 15}  # how many other tasks may start before this priority is next
DEFAULT_S: Final = 60.0  # assumed duration of audio if neither the task nor earlier tasks of the user say more
LEAST_S: Final = 0.1  # charged for a task at least, so that empty tasks take turns, too
RECENT_TASKS: Final = 20  # of a user, whose mean duration is assumed for a task of unknown duration
_LANES: Final = tuple(Lane)
ESTIMATED_FROM: Final = 32  # tasks of a user and priority from which the audio of all of them is estimated
COMPACTED_FROM: Final = 64  # started tasks at the head of a user's queue before their memory is freed


class Slots(StrEnum):
    """The two kinds of slots of a worker: for one recording, and for several live tasks."""

    RECORDINGS = "recordings"
    LIVE = "live"

    @classmethod
    def of(cls, lane: Lane) -> "Slots":
        """Return the slots in which tasks of a lane run."""
        return cls.LIVE if lane is Lane.LIVE else cls.RECORDINGS


class Quota(NamedTuple):
    """What one user may use; 0: no limit."""

    weight: float = 1.0
    max_running: int = 0
    max_waiting: int = 0


class Turn(NamedTuple):
    """A task whose turn it is, or that runs."""

    user: User
    lane: Lane
    priority: Priority
    sequence: int  # stream sequence of the task message
    seconds: float = DEFAULT_S  # of audio, as charged to the user


class PriorityOrder:
    """The order of the priorities for the next task: high, normal and low, without starvation.

    A priority that was passed over PATIENCE times goes first: while tasks of all priorities wait, eleven of sixteen
    tasks are high, four are normal and one is low.
    """

    def __init__(self) -> None:
        self._passed_over = dict.fromkeys(Priority, 0)

    def current(self) -> Iterator[Priority]:
        """Yield the priorities in their current order."""
        overdue = [priority for priority in reversed(PATIENCE) if self._passed_over[priority] >= PATIENCE[priority]]
        yield from dict.fromkeys([*overdue, *Priority])

    def note_served(self, served: Priority) -> None:
        """Note that a task of a priority starts, so that every other priority was passed over once more."""
        for priority in PATIENCE:
            self._passed_over[priority] += 1
        self.note_empty(served)

    def note_empty(self, priority: Priority) -> None:
        """Note that no task of a priority can start, so that a task of another priority does not pass it over."""
        self._passed_over[priority] = 0


class _Share:
    """The waiting tasks of one user with one priority, in stream order, and the user's tag: 12 bytes a task."""

    __slots__ = ("_head", "_lanes_and_sequences", "_seconds", "place", "running", "tag", "user")

    def __init__(self, user: User) -> None:
        self.user = user
        self.tag = 0.0
        self.place = 0  # among equal tags; a share with an outdated place in the heap is skipped
        self.running = 0
        self._head = 0
        self._lanes_and_sequences = array("Q")
        self._seconds = array("f")  # `nan`: unknown

    def __len__(self) -> int:
        return len(self._seconds) - self._head

    def append(self, lane: Lane, sequence: int, seconds: float) -> None:
        self._lanes_and_sequences.append(sequence * len(_LANES) + _LANES.index(lane))
        self._seconds.append(seconds)

    def insert_first(self, lane: Lane, sequence: int, seconds: float) -> None:
        self._lanes_and_sequences.insert(self._head, sequence * len(_LANES) + _LANES.index(lane))
        self._seconds.insert(self._head, seconds)

    def pop_first(self) -> tuple[Lane, int, float]:
        sequence, lane = divmod(self._lanes_and_sequences[self._head], len(_LANES))
        seconds, self._head = self._seconds[self._head], self._head + 1
        if self._head >= COMPACTED_FROM and 2 * self._head > len(self._seconds):
            del self._lanes_and_sequences[: self._head], self._seconds[: self._head]
            self._head = 0
        return _LANES[lane], sequence, seconds

    def seconds(self, expected: Callable[[float], float]) -> float:
        """Estimate the seconds of audio of all tasks; `expected` returns the charge for a duration or `nan`."""
        first = self._seconds[self._head : self._head + ESTIMATED_FROM]
        return sum(map(expected, first)) * len(self) / len(first) if first else 0.0

    def remove(self, lane: Lane, sequence: int) -> bool:
        try:
            at = self._lanes_and_sequences.index(sequence * len(_LANES) + _LANES.index(lane), self._head)
        except ValueError:
            return False
        del self._lanes_and_sequences[at], self._seconds[at]
        return True


class _Queue:
    """The users who wait with one priority for one kind of slots, in the order of their tags."""

    def __init__(self) -> None:
        self.shares: dict[User, _Share] = {}
        self.virtual_time = 0.0
        self._heap: list[tuple[float, int, _Share]] = []
        self._places = 0

    def share(self, user: User) -> _Share:
        return self.shares.get(user) or self.shares.setdefault(user, _Share(user))

    def enter(self, share: _Share) -> None:
        """Give a share with waiting tasks its place in the order, behind the shares with an equal tag."""
        self._places += 1
        share.place = self._places
        heapq.heappush(self._heap, (share.tag, share.place, share))

    def begin(self, share: _Share) -> None:
        """Let a user who had nothing waiting begin at the virtual time; a user with nothing running owes nothing."""
        share.tag = max(share.tag, self.virtual_time) if share.running else self.virtual_time
        self.enter(share)

    def first(self, may_start: Callable[[User], bool]) -> _Share | None:
        """Take the share with the lowest tag out of the order; also those whose users may start nothing now."""
        while self._heap:
            tag, place, share = heapq.heappop(self._heap)
            if place == share.place and share:
                share.place = 0
                if may_start(share.user):
                    self.virtual_time = max(self.virtual_time, tag)
                    return share
        return None

    def leave_if_idle(self, share: _Share) -> None:
        if not share and not share.running:
            self.shares.pop(share.user, None)


class Turns:
    """Decides which waiting task starts next, and counts the waiting and running tasks of each user; does no I/O."""

    def __init__(self, quota: Callable[[User], Quota] = lambda _: Quota()) -> None:
        """Create an empty order; `quota` returns what a user may use at this moment, with a weight above 0."""
        self.waiting: Counter[User] = Counter()
        self.running: Counter[User] = Counter()
        self._served = defaultdict[User, float](float)  # seconds of audio by weight, since the last `take_served`
        self._quota = quota
        self._orders = {slots: PriorityOrder() for slots in Slots}
        self._queues = {(slots, priority): _Queue() for slots in Slots for priority in Priority}
        self._recent: dict[User, deque[float]] = {}  # durations of the latest tasks of each user who has tasks

    def add(self, turn: Turn) -> None:
        """Add a waiting task behind the other tasks of its user; `turn.seconds` is `nan` if the duration is unknown."""
        queue, share = self._of(turn)
        share.append(turn.lane, turn.sequence, turn.seconds)
        self.waiting[turn.user] += 1
        if len(share) == 1:
            queue.begin(share)

    def put_back(self, turn: Turn) -> None:
        """Let a task that could not start wait again, before the other tasks of its user, who is not charged."""
        queue, share = self._of(turn)
        self._end(turn, share)
        share.tag -= turn.seconds / self._quota(turn.user).weight
        self._served[turn.user] -= turn.seconds / self._quota(turn.user).weight
        share.insert_first(turn.lane, turn.sequence, turn.seconds)
        self.waiting[turn.user] += 1
        queue.enter(share)

    def remove(self, turn: Turn) -> bool:
        """Remove a waiting task, because it was cancelled; return whether it was waiting."""
        queue, share = self._of(turn)
        is_removed = share.remove(turn.lane, turn.sequence)
        if is_removed:
            self.waiting[turn.user] -= 1
        self._forget_if_idle(queue, share)
        return is_removed

    def next(self, slots: Slots) -> Turn | None:
        """Return the task that starts next in one kind of slots, and count it as running; None if none may start."""
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
        """Count a task as running that was started before this order existed."""
        _, share = self._of(turn)
        self._charge(turn, share)

    def settle(self, turn: Turn, seconds: float | None) -> None:
        """Note that a running task has ended; `seconds`: the actual duration of its audio, None if unknown.

        The actual duration corrects the tag of the user, but never to less than the virtual time.
        """
        queue, share = self._of(turn)
        self._end(turn, share)
        if seconds is not None:
            self._recent.setdefault(turn.user, deque(maxlen=RECENT_TASKS)).append(seconds)
            correction = (max(seconds, LEAST_S) - turn.seconds) / self._quota(turn.user).weight
            share.tag = max(share.tag + correction, queue.virtual_time)
        self.reconsider(turn.user)  # the tag or the number of running tasks has changed
        self._forget_if_idle(queue, share)

    def reconsider(self, user: User) -> None:
        """Give the waiting tasks of a user their place in the order again, after the quota or a tag has changed."""
        for queue in self._queues.values():
            share = queue.shares.get(user)
            if share:
                queue.enter(share)

    def _of(self, turn: Turn) -> tuple[_Queue, _Share]:
        queue = self._queues[Slots.of(turn.lane), turn.priority]
        return queue, queue.share(turn.user)

    def take_served(self) -> "dict[User, float]":
        """Return the seconds of audio, divided by the weight, that each user was granted since the last call."""
        served, self._served = self._served, defaultdict(float)
        return served

    def waiting_seconds(self, user: User) -> float:
        """Estimate the seconds of audio of a user's waiting tasks, from the first tasks of each priority."""
        shares = [share for queue in self._queues.values() if (share := queue.shares.get(user))]
        return sum(share.seconds(partial(self._expected, user)) for share in shares)

    def may_start(self, user: User) -> bool:
        """Return whether a user runs fewer tasks than the quota allows."""
        limit = self._quota(user).max_running
        return not limit or self.running[user] < limit

    def _start(self, priority: Priority, queue: _Queue, share: _Share) -> Turn:
        lane, sequence, seconds = share.pop_first()
        turn = Turn(share.user, lane, priority, sequence, self._expected(share.user, seconds))
        self.waiting[share.user] -= 1
        self._charge(turn, share)
        if share:
            queue.enter(share)
        return turn

    def _expected(self, user: User, seconds: float) -> float:
        recent = self._recent.get(user)
        if math.isnan(seconds):
            seconds = sum(recent) / len(recent) if recent else DEFAULT_S
        return max(seconds, LEAST_S)

    def _charge(self, turn: Turn, share: _Share) -> None:
        share.running += 1
        share.tag += turn.seconds / self._quota(turn.user).weight
        self._served[turn.user] += turn.seconds / self._quota(turn.user).weight
        self.running[turn.user] += 1

    def _end(self, turn: Turn, share: _Share) -> None:
        share.running -= 1
        self.running[turn.user] -= 1

    def _forget_if_idle(self, queue: _Queue, share: _Share) -> None:
        queue.leave_if_idle(share)
        if not self.waiting[share.user] and not self.running[share.user]:
            self._recent.pop(share.user, None)
            del self.waiting[share.user], self.running[share.user]
