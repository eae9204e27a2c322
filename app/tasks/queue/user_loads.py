"""The load of users: how many of their tasks wait and run, and how fairly they were served lately."""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from natscribe.schemas.task_queues import MAX_LISTED_USERS, UserLoad

from app.tasks.queue.fair_queue import FairQueue
from app.tasks.queue.user_queues import User

WINDOW_S: Final = 300.0  # fairness is measured over the latest seconds
BUCKETS: Final = 10  # parts of the window: the oldest is dropped as a whole


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The waiting and running tasks of users at one moment, and how fairly the users were served lately.

    `users`: those with the most waiting audio. `fairness`: Jain's index of the audio served to the users who have
    waited all the time, from 0 to 1; 1: equal. `longest_wait_s`: how long a user without a running task has waited.
    """

    users: list[UserLoad]
    users_waiting: int
    fairness: float
    longest_wait_s: float


class UserLoads:
    """Measures how many tasks of each user wait and run, and how fairly users are served, by reading a `FairQueue`."""

    def __init__(self) -> None:
        self._queue: FairQueue | None = None  # that was measured last
        self._waiting_since: dict[User, float] = {}
        self._idle_since: dict[User, float] = {}  # of the waiting users of whom no task runs
        self._served = deque[tuple[float, defaultdict[User, float]]]()  # when each bucket began, and seconds of audio

    def measure(self, queue: FairQueue, now: float) -> LoadReport:
        """Measure the loads at the time `now`, in seconds of the monotonic clock; call it every few seconds.

        With another `queue`, the measurement begins again: meanwhile another worker may have held the lease.
        """
        if queue is not self._queue:
            self._queue = queue
            self._waiting_since, self._idle_since = {}, {}
            self._served.clear()
        self._note_served(queue.take_served(), now)
        waiting = [user for user, count in queue.waiting.items() if count]
        self._waiting_since = {user: self._waiting_since.get(user, now) for user in waiting}
        idle = [user for user in waiting if not queue.running[user]]
        self._idle_since = {user: self._idle_since.get(user, now) for user in idle}
        users = {*waiting, *(user for user, count in queue.running.items() if count)}
        largest = nlargest(MAX_LISTED_USERS, users, key=lambda user: (queue.waiting_seconds(user), queue.running[user]))
        return LoadReport(
            [_load(queue, user) for user in largest],
            users_waiting=len(waiting),
            fairness=self._fairness(queue, now),
            longest_wait_s=now - min(self._idle_since.values(), default=now),
        )

    def _note_served(self, served: Mapping[User, float], now: float) -> None:
        if not self._served or self._served[-1][0] <= now - WINDOW_S / BUCKETS:
            self._served.append((now, defaultdict(float)))
        for user, seconds in served.items():
            self._served[-1][1][user] += seconds
        while self._served[0][0] <= now - WINDOW_S:
            self._served.popleft()

    def _fairness(self, queue: FairQueue, now: float) -> float:
        """Return Jain's fairness index of the audio served to each user in the last WINDOW_S seconds; 1: equal amounts.

        The index includes only users who have had waiting tasks for all this time, and may start one more task now.
        """
        always = [user for user, since in self._waiting_since.items() if since <= now - WINDOW_S]
        return jain_index([self._served_to(user) for user in always if queue.may_start(user)])

    def _served_to(self, user: User) -> float:
        return sum(seconds.get(user, 0.0) for _, seconds in self._served)


def jain_index(values: Collection[float]) -> float:
    """Return Jain's index of fairness: 1 if all values are equal, 1/n if all but one of n values are 0."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _load(queue: FairQueue, user: User) -> UserLoad:
    return UserLoad(
        user_id=user,
        waiting=queue.waiting[user],
        running=queue.running[user],
        waiting_seconds=queue.waiting_seconds(user),
    )
