"""Which task starts next: by priority, by user and by seconds of audio."""

import heapq
import math
import random
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from natscribe.schemas.wire import Priority, TaskType

from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.fair_queue import DEFAULT_S, FairQueue, QueuedTask, Quota
from app.tasks.queue.user_loads import jain_index
from app.tasks.queue.user_queues import User

HIGH, NORMAL, LOW = Priority
MINUTE = 60.0
SLOTS = 8
SPEED = 60.0  # seconds of audio that a slot transcribes per second


@dataclass
class Fleet:
    """Eight slots, which always run the tasks whose turn it is, in simulated time."""

    queue: FairQueue = field(default_factory=FairQueue)
    now: float = 0.0
    running: list[tuple[float, int, QueuedTask]] = field(default_factory=list)
    started: list[QueuedTask] = field(default_factory=list)
    sequences: Iterator[int] = field(default_factory=lambda: count(1))

    def publish(
        self,
        user: User,
        seconds: float = DEFAULT_S,
        *,
        priority: Priority = NORMAL,
        task_type: TaskType = TaskType.TRANSCRIPTION,
    ) -> QueuedTask:
        task = QueuedTask(user, task_type, priority, next(self.sequences), seconds)
        self.queue.add(task)
        return task

    def fill(self, slots: int = SLOTS) -> None:
        while len(self.running) < slots and (task := self.queue.next(SlotPool.RECORDINGS)) is not None:
            self.started.append(task)
            heapq.heappush(self.running, (self.now + task.seconds / SPEED, task.sequence, task))

    def complete(self) -> QueuedTask:
        """End the task that ends next, and start others; return it."""
        self.now, _, task = heapq.heappop(self.running)
        self.queue.settle(task, task.seconds)
        self.fill()
        return task


def users(tasks: list[QueuedTask]) -> list[User]:
    return [task.user for task in tasks]


def start(queue: FairQueue, slots: SlotPool = SlotPool.RECORDINGS) -> QueuedTask:
    """Start the next task, which there must be."""
    task = queue.next(slots)
    assert task is not None
    return task


def take(queue: FairQueue, number: int, slots: SlotPool = SlotPool.RECORDINGS) -> list[QueuedTask]:
    """Start tasks one after the other, each of which ends before the next starts."""
    taken = []
    for _ in range(number):
        taken.append(start(queue, slots))
        queue.settle(taken[-1], taken[-1].seconds)
    return taken


@pytest.mark.parametrize("seed", range(200))
def test_a_user_who_begins_waits_for_one_task_of_each_other_user(seed: int) -> None:
    # Given users with any backlogs, at any time
    chance, fleet = random.Random(seed), Fleet()  # noqa: S311 -- no secret
    for user in range(chance.randint(1, 30)):
        for _ in range(chance.randint(1, 100)):
            fleet.publish(user, chance.choice([1.0, 30.0, MINUTE, 3600.0]) * chance.random())
    fleet.fill()
    for _ in range(chance.randrange(200)):
        if fleet.running:
            fleet.complete()
    # When a user with nothing waiting and nothing running publishes
    waiting = sum(1 for tasks in fleet.queue.waiting.values() if tasks)
    new = fleet.publish("new", chance.choice([1.0, 3600.0]))
    fleet.fill()
    # Then the task starts after at most as many completions as there are slots, plus one task of each waiting user
    completions = 0
    while new not in {task._replace(seconds=new.seconds) for task in fleet.started}:
        fleet.complete()
        completions += 1
    assert completions <= SLOTS + waiting


def served_in_any_minute(fleet: Fleet) -> Iterator[Counter[User]]:
    """Run all tasks while all users wait; yield what each user was served in each minute."""
    fleet.fill()
    begins, total = len(fleet.queue.waiting), Counter[User]()
    marks = [(0.0, Counter[User]())]
    while sum(1 for tasks in fleet.queue.waiting.values() if tasks) == begins:
        ended = fleet.complete()
        total[ended.user] += round(ended.seconds)
        marks.append((fleet.now, Counter(total)))
        while marks[1][0] <= fleet.now - MINUTE:
            marks.pop(0)
        if fleet.now - marks[0][0] >= MINUTE:
            yield total - marks[0][1]


def test_users_get_equal_seconds_of_audio_in_any_minute() -> None:
    # Given 200 users with 20 tasks each
    chance, fleet = random.Random(7), Fleet()  # noqa: S311 -- no secret
    for user in range(200):
        for _ in range(20):
            fleet.publish(user, chance.uniform(1, 60))
    # When a fleet runs them for some minutes, then Jain's index of the audio served is at least 0.95 in any minute
    indices = [jain_index([served[user] for user in range(200)]) for served in served_in_any_minute(fleet)]
    assert len(indices) > 1000
    assert min(indices) >= 0.95


def test_users_get_audio_in_proportion_to_their_weights() -> None:
    # Given users with different weights, and more work than can be done
    weights: dict[User, float] = {"a": 1.0, "b": 2.0, "c": 4.0}
    chance = random.Random(3)  # noqa: S311 -- no secret
    fleet = Fleet(FairQueue(lambda user: Quota(weight=weights[user])))
    for user in weights:
        for _ in range(3000):
            fleet.publish(user, chance.uniform(1, 60))
    # When a fleet has run for a while
    fleet.fill()
    served = defaultdict[User, float](float)
    for _ in range(4000):
        ended = fleet.complete()
        served[ended.user] += ended.seconds
    # Then the shares are within 5 % of the weights
    for user, weight in weights.items():
        assert served[user] / sum(served.values()) == pytest.approx(weight / 7, rel=0.05)


def publish_cancel_and_run(fleet: Fleet, chance: random.Random, published: list[QueuedTask]) -> None:
    """Publish one task; by chance, also cancel one, put one back, start some, and complete one."""
    published.append(
        fleet.publish(
            chance.choice([1, "1", 2, None]),
            chance.choice([math.nan, 0.0, 5.0]),
            priority=chance.choice(list(Priority)),
            task_type=chance.choice([TaskType.TRANSCRIPTION, TaskType.DIARIZATION]),
        )
    )
    victim = chance.choice(published)
    if chance.random() < 0.1 and fleet.queue.remove(victim):
        published.remove(victim)
    if chance.random() < 0.2 and (task := fleet.queue.next(SlotPool.RECORDINGS)) is not None:
        fleet.queue.put_back(task)
    if chance.random() < 0.5:
        fleet.fill()
    if chance.random() < 0.3 and fleet.running:
        fleet.complete()


@pytest.mark.parametrize("seed", range(20))
def test_every_task_starts_once_and_those_of_a_user_in_their_order(seed: int) -> None:
    # Given tasks that are published, cancelled and put back while others run
    chance = random.Random(seed)  # noqa: S311 -- no secret
    fleet, published = Fleet(FairQueue(lambda _: Quota(max_running=chance.choice([0, 1, 3])))), list[QueuedTask]()
    for _ in range(500):
        publish_cancel_and_run(fleet, chance, published)
    # When all have run
    while fleet.running or fleet.queue.waiting.total():
        for user in (1, "1", 2, None):
            fleet.queue.reconsider(user)
        fleet.fill()
        if fleet.running:
            fleet.complete()
    # Then each that was not cancelled has started once, and those of a user, type and priority in their order
    assert sorted(task.sequence for task in fleet.started) == [task.sequence for task in published]
    orders = defaultdict[tuple[object, ...], list[int]](list)
    for task in fleet.started:
        orders[task.user, task.task_type, task.priority].append(task.sequence)
    assert all(order == sorted(order) for order in orders.values())
    assert not fleet.queue.waiting
    assert not fleet.queue.running


def test_an_actual_duration_corrects_a_false_header() -> None:
    # Given two users with much work, one of whom understates all durations
    queue, number = FairQueue(), count(1)
    for _ in range(100):
        queue.add(QueuedTask("honest", TaskType.TRANSCRIPTION, NORMAL, next(number), 10.0))
        queue.add(QueuedTask("false", TaskType.TRANSCRIPTION, NORMAL, next(number), 0.01))
    # When tasks run, then both get the same seconds of audio
    taken = []
    for _ in range(100):
        task = start(queue)
        queue.settle(task, 10.0)
        taken.append(task)
    assert abs(users(taken).count("honest") - 50) <= 1


def test_an_overstated_duration_is_refunded_but_saves_no_turns() -> None:
    # Given a user who was charged a day for ten seconds, while another was served for a while
    queue, number = FairQueue(), count(1)
    queue.add(QueuedTask("a", TaskType.TRANSCRIPTION, NORMAL, next(number), 24 * 3600.0))
    overstated = start(queue)
    for _ in range(30):
        queue.add(QueuedTask("b", TaskType.TRANSCRIPTION, NORMAL, next(number), 10.0))
    take(queue, 10)
    for _ in range(30):
        queue.add(QueuedTask("a", TaskType.TRANSCRIPTION, NORMAL, next(number), 10.0))
    # When the charge is corrected, then the two take turns from now on
    queue.settle(overstated, 10.0)
    assert abs(users(take(queue, 10)).count("a") - 5) <= 1


def test_a_limit_of_running_tasks_saves_no_turns() -> None:
    # Given a user whose only allowed task runs, while two others are served for a while
    limits = {"a": Quota(max_running=1)}
    queue = FairQueue(lambda user: limits.get(str(user), Quota()))
    for sequence in range(1, 601):
        queue.add(QueuedTask("abc"[sequence % 3], TaskType.TRANSCRIPTION, NORMAL, sequence, 10.0))
    running = queue.next(SlotPool.RECORDINGS)
    while running is not None and running.user != "a":
        queue.settle(running, 10.0)
        running = queue.next(SlotPool.RECORDINGS)
    assert "a" not in users(take(queue, 100))
    # When the limit is lifted, then all three take turns
    limits.clear()
    queue.reconsider("a")
    assert Counter(users(take(queue, 30))) == {"a": 10, "b": 10, "c": 10}


def test_an_unknown_duration_counts_as_the_mean_of_the_users_latest_tasks() -> None:
    queue = FairQueue()
    queue.add(QueuedTask("a", TaskType.TRANSCRIPTION, NORMAL, 1, math.nan))
    queue.add(QueuedTask("a", TaskType.TRANSCRIPTION, NORMAL, 2, math.nan))
    first = start(queue)
    assert first.seconds == DEFAULT_S
    queue.settle(first, 12.0)
    second = start(queue)
    assert second.seconds == 12.0


def test_a_user_at_the_limit_is_passed_over_until_a_task_ends_or_the_limit_is_raised() -> None:
    # Given a user who may run one task, and has more
    limits = {"a": 1, "b": 0}
    queue = FairQueue(lambda user: Quota(max_running=limits[str(user)]))
    for sequence, user in enumerate(["a", "a", "a", "b"], 1):
        queue.add(QueuedTask(user, TaskType.TRANSCRIPTION, NORMAL, sequence, 1.0))
    first, other = start(queue), start(queue)
    assert (first.user, other.user, queue.next(SlotPool.RECORDINGS)) == ("a", "b", None)
    # When it ends, then the next one starts
    queue.settle(first, 1.0)
    assert start(queue).sequence == 2
    assert queue.next(SlotPool.RECORDINGS) is None
    # When the limit is raised, then the last one starts
    limits["a"] = 2
    queue.reconsider("a")
    assert start(queue).sequence == 3


def test_running_tasks_of_an_earlier_order_count_for_their_users() -> None:
    queue = FairQueue(lambda _: Quota(max_running=2))
    queue.resume(QueuedTask("a", TaskType.TRANSCRIPTION, NORMAL, 1))
    for sequence, user in enumerate(["a", "b", "a"], 2):
        queue.add(QueuedTask(user, TaskType.TRANSCRIPTION, NORMAL, sequence, 1.0))
    assert [start(queue).sequence, start(queue).sequence] == [3, 2]
    assert queue.next(SlotPool.RECORDINGS) is None


@pytest.mark.parametrize("seed", range(50))
def test_the_tasks_before_a_task_are_those_that_start_before_it(seed: int) -> None:
    # Given waiting tasks of several users, some of whom have been served before
    chance, fleet = random.Random(seed), Fleet()  # noqa: S311 -- no secret
    published = [fleet.publish(chance.randrange(5), chance.uniform(1, 60)) for _ in range(60)]
    take(fleet.queue, chance.randrange(20))
    waiting = [task for task in published if task in fleet.queue]
    # When the tasks before one of them are counted, and tasks start until it is next
    task = chance.choice(waiting)
    before = fleet.queue.before(task)
    assert before is not None
    started: list[QueuedTask] = []
    while task in fleet.queue:
        started += take(fleet.queue, 1)
    # Then as many tasks have started, with as many seconds of audio
    assert before == pytest.approx((len(started) - 1, sum(task.seconds for task in started[:-1])))


@pytest.mark.parametrize("seconds", [10.0, math.nan])
def test_many_tasks_before_a_task_are_estimated(seconds: float) -> None:
    queue, number = FairQueue(), count(1)
    for _ in range(200):
        for user in ("a", "b"):
            last = QueuedTask(user, TaskType.TRANSCRIPTION, NORMAL, next(number), seconds)
            queue.add(last)
    before = queue.before(last)
    assert before is not None
    assert before[0] == pytest.approx(399, abs=1)
    assert before[1] == pytest.approx(3990, abs=10) or math.isnan(seconds)


def test_live_tasks_have_slots_and_turns_of_their_own() -> None:
    queue = FairQueue()
    queue.add(QueuedTask("a", TaskType.LIVE, LOW, 1, 1.0))
    queue.add(QueuedTask("a", TaskType.DIARIZATION, LOW, 2, 1.0))
    assert [task.sequence for task in take(queue, 1, SlotPool.LIVE)] == [1]
    assert queue.next(SlotPool.LIVE) is None
    assert [task.sequence for task in take(queue, 1)] == [2]


def served(queue: FairQueue, priorities: set[Priority], number: int) -> list[Priority]:
    """Start tasks while tasks of these priorities always wait; return the priorities of those that start."""
    taken = []
    for _ in range(number):
        for priority in priorities:
            queue.add(QueuedTask(priority, TaskType.TRANSCRIPTION, priority, 1, 1.0))
        taken += [task.priority for task in take(queue, 1)]
    return taken


def test_the_shares_of_the_priorities() -> None:
    priorities = served(FairQueue(), {HIGH, NORMAL, LOW}, 48)[16:]
    for begin in range(17):
        assert Counter(priorities[begin : begin + 16]) == {HIGH: 11, NORMAL: 4, LOW: 1}


def test_a_priority_is_served_after_as_many_tasks_as_promised() -> None:
    for waiting, others, promised in ((NORMAL, {HIGH}, 4), (NORMAL, {HIGH, LOW}, 5), (LOW, {HIGH, NORMAL}, 16)):
        for before in range(40):
            queue = FairQueue()
            served(queue, others, before)
            assert waiting in served(queue, others | {waiting}, promised)


def test_only_tasks_that_were_passed_over_precede_high_ones() -> None:
    queue = FairQueue()
    served(queue, {LOW}, 40)
    assert served(queue, {HIGH, LOW}, 1) == [HIGH]


def test_a_task_that_could_not_start_keeps_no_other_task_of_its_user_from_starting() -> None:
    # Given a user at the limit of running tasks, whose live task therefore did not start
    queue = FairQueue(lambda _: Quota(max_running=1))
    recording, live = (
        QueuedTask("ann", task_type, Priority.NORMAL, number)
        for number, task_type in ((1, TaskType.DIARIZATION), (2, TaskType.LIVE))
    )
    queue.add(recording)
    queue.add(live)
    started = start(queue)
    assert queue.next(SlotPool.LIVE) is None
    # When the running one could not start either, and is cancelled
    queue.put_back(started)
    assert queue.remove(started)
    # Then the live task starts
    assert start(queue, SlotPool.LIVE).sequence == live.sequence


def test_a_user_of_whom_a_task_still_runs_stays_charged_for_those_that_have_ended() -> None:
    # Given a user of whom two tasks run, and none waits
    fleet = Fleet()
    for _ in range(2):
        fleet.publish("ann", 100)
    fleet.fill()
    # When one of them has ended, and this user and another one publish tasks
    fleet.queue.settle(fleet.started[0], None)
    for user in ("ann", "bob"):
        fleet.publish(user)
    # Then the other one is first
    assert users(take(fleet.queue, 2)) == ["bob", "ann"]


def test_users_who_are_reconsidered_often_take_no_memory() -> None:
    queue = FairQueue()
    for user in range(3):
        queue.add(QueuedTask(user, TaskType.TRANSCRIPTION, NORMAL, user, 1.0))
    tracemalloc.start()
    for number in range(20_000):
        queue.reconsider(number % 3)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 100_000
    assert sorted(map(str, users(take(queue, 3)))) == ["0", "1", "2"]


@pytest.mark.parametrize("first", [1, 2])
def test_tasks_that_could_not_start_wait_in_their_order(first: int) -> None:
    # Given three tasks of a user, of which two could not start
    queue = FairQueue()
    for sequence in (1, 2, 3):
        queue.add(QueuedTask("a", TaskType.TRANSCRIPTION, NORMAL, sequence, 1.0))
    started = [start(queue), start(queue)]
    # When they are put back, in any order, then all start in the order in which they were published
    for task in started if first == 1 else reversed(started):
        queue.put_back(task)
    assert [task.sequence for task in take(queue, 3)] == [1, 2, 3]
