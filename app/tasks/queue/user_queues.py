"""The waiting tasks of each user with one priority, and the order of these users by their tags."""

import heapq
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable
from itertools import accumulate, islice, takewhile
from typing import Final

from natscribe.schemas.wire import TaskType

User = int | str | None  # None: of a message without a valid user id
LEAST_S: Final = 0.1  # charged for a task at least, so that empty tasks take turns, too
COUNTED: Final = 32  # tasks of each user that are counted one by one; the others count as the mean of these
COMPACTED_FROM: Final = 64  # outdated entries of the order of users, before their memory is freed
_TASK_TYPES: Final = tuple(TaskType)


class UserQueue:
    """One user's waiting tasks of one priority, in the order of their stream sequences.

    `tag` is the user's virtual start time: of all waiting users, the one with the lowest tag starts a task next. Each
    started task raises the tag by its seconds of audio, divided by the user's weight. When the user begins to wait,
    `UserQueues.begin` sets the tag. Each waiting task takes 12 bytes of memory.
    """

    __slots__ = ("_codes", "_seconds", "place", "running", "tag", "user")

    def __init__(self, user: User) -> None:
        self.user = user
        self.tag = 0.0
        self.place = 0  # among equal tags; a queue with an outdated place in the heap is skipped
        self.running = 0
        self._codes = array("Q")  # of the types and sequences, in ascending order
        self._seconds = array("f")  # `nan`: unknown

    def __len__(self) -> int:
        return len(self._seconds)

    def insert(self, task_type: TaskType, sequence: int, seconds: float) -> None:
        """Add a waiting task at the place of its stream sequence.

        `seconds`: the duration of its audio; `nan`: unknown.
        """
        code = _code(task_type, sequence)
        at = bisect_left(self._codes, code)
        self._codes.insert(at, code)
        self._seconds.insert(at, seconds)

    def pop_first(self) -> tuple[TaskType, int, float]:
        """Remove the first waiting task; return its type, its stream sequence and the seconds of its audio."""
        sequence, task_type = divmod(self._codes.pop(0), len(_TASK_TYPES))
        return _TASK_TYPES[task_type], sequence, self._seconds.pop(0)

    def index(self, task_type: TaskType, sequence: int) -> int | None:
        """Return how many of the user's waiting tasks precede the task with this type and sequence.

        None: that task is not waiting.
        """
        code = _code(task_type, sequence)
        at = bisect_left(self._codes, code)
        return at if at < len(self._codes) and self._codes[at] == code else None

    def first(self, count: int) -> "array[float]":
        """Return the durations of the first `count` waiting tasks, in seconds; `nan`: unknown."""
        return self._seconds[:count]

    def charge(self, count: int, expected: float) -> float:
        """Estimate how many seconds of audio the user is charged for the first `count` waiting tasks.

        The mean duration of these tasks, of COUNTED at most, is assumed for each task. If one of their durations is
        unknown, `expected` seconds are assumed for each task instead.
        """
        first = self.first(min(count, COUNTED))
        total = sum(first)
        return count * (expected if math.isnan(total) else max(total / len(first), LEAST_S)) if first else 0.0

    def count_within(self, room: float, expected: float, *, is_earlier: bool) -> int:
        """Estimate how many tasks of this user start before a certain task of another user.

        `room`: how many seconds of this user's audio start before that task; if negative, none of this user's tasks
        does. `expected`: the seconds that are assumed for a task of unknown duration. `is_earlier`: whether this user's
        task starts first if both tasks have the same virtual start time.
        """
        first = self.first(COUNTED)
        charged = self.charge(len(first), expected)
        if room < 0:
            return 0
        if room < charged and not math.isnan(sum(first)):  # the first ones are counted one by one
            starts = accumulate((charge_for(seconds, expected) for seconds in first), initial=0.0)
            return sum(1 for _ in takewhile(lambda start: start < room or (start == room and is_earlier), starts))
        count = room * len(first) / charged
        return min(math.floor(count) + 1 if is_earlier else math.ceil(count), len(self))

    def remove(self, index: int) -> None:
        """Remove the waiting task at a position in the order of this user's tasks; `index` 0: the first task."""
        del self._codes[index], self._seconds[index]


def _code(task_type: TaskType, sequence: int) -> int:
    return sequence * len(_TASK_TYPES) + _TASK_TYPES.index(task_type)


def charge_for(seconds: float, expected: float) -> float:
    """Return how many seconds of audio a user is charged for a task: at least LEAST_S.

    `seconds`: the duration of the task's audio; if it is `nan` (unknown), `expected` is charged instead.
    """
    return max(expected if math.isnan(seconds) else seconds, LEAST_S)


class UserQueues:
    """The `UserQueue` of each user for one priority and one pool of slots, with an order of the users who wait.

    The users are ordered by the tags of their queues (virtual start times): the user with the lowest tag comes first.
    """

    def __init__(self) -> None:
        self.queues: dict[User, UserQueue] = {}
        self.virtual_time = 0.0
        self._heap: list[tuple[float, int, UserQueue]] = []
        self._places = 0

    @property
    def has_entries(self) -> bool:
        """Whether the order of waiting users has entries.

        It may be True although no user waits: an entry stays in the order when its queue has no more tasks.
        """
        return bool(self._heap)

    def of(self, user: User) -> UserQueue:
        """Return the queue of a user, a new one if the user has none."""
        return self.queues.get(user) or self.queues.setdefault(user, UserQueue(user))

    def enter(self, queue: UserQueue) -> None:
        """Put a queue with waiting tasks into the order of users, behind other queues with the same tag.

        The tag is the user's virtual start time. If the order already has an entry of this queue, the old entry is
        ignored from now on.
        """
        self._places += 1
        queue.place = self._places
        heapq.heappush(self._heap, (queue.tag, queue.place, queue))
        if len(self._heap) > 2 * len(self.queues) + COMPACTED_FROM:
            self._heap = [entry for entry in self._heap if entry[1] == entry[2].place and entry[2]]
            heapq.heapify(self._heap)

    def begin(self, queue: UserQueue) -> None:
        """Set the tag (virtual start time) of a user who had no waiting task, and put the user's queue into the order.

        The tag becomes the virtual time: the highest tag of the queues that `first` has returned so far. If a task of
        the user still runs and the user's old tag is higher, the old tag stays.
        """
        queue.tag = max(queue.tag, self.virtual_time) if queue.running else self.virtual_time
        self.enter(queue)

    def first(self, may_start: Callable[[User], bool]) -> UserQueue | None:
        """Return the queue with the lowest tag (virtual start time) whose user may start a task; None if there is none.

        Remove this queue from the order of users, and also all queues with a lower tag: their users may not start a
        task now. `enter` puts a queue back into the order. `may_start`: returns whether a user may start a task now.
        """
        while self._heap:
            tag, place, queue = heapq.heappop(self._heap)
            if place == queue.place and queue:
                queue.place = 0
                if may_start(queue.user):
                    self.virtual_time = max(self.virtual_time, tag)
                    return queue
        return None

    def __len__(self) -> int:
        return sum(map(len, self.queues.values()))

    @property
    def mean_seconds(self) -> float:
        """The mean duration, in seconds, of waiting tasks: of the first task of each user, for up to COUNTED users.

        It is `nan` if one of these durations is unknown, or if no task waits.
        """
        seconds = [duration for queue in islice(self.queues.values(), COUNTED) for duration in queue.first(1)]
        return sum(seconds) / len(seconds) if seconds else math.nan
