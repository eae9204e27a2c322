"""Which task starts next: turns by priority, by user and by seconds of audio."""

import heapq
import math
import random
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from natscribe.schemas.wire import Lane, Priority

from app.jetstream.slots import Slots
from app.queue.shares import User
from app.queue.turns import DEFAULT_S, Quota, Turn, Turns

HIGH, NORMAL, LOW = Priority
MINUTE = 60.0
SLOTS = 8
SPEED = 60.0  # seconds of audio that a slot transcribes per second


@dataclass
class Fleet:
    """Eight slots, which always run the tasks whose turn it is, in simulated time."""

    turns: Turns = field(default_factory=Turns)
    now: float = 0.0
    running: list[tuple[float, int, Turn]] = field(default_factory=list)
    started: list[Turn] = field(default_factory=list)
    sequences: Iterator[int] = field(default_factory=lambda: count(1))

    def publish(
        self,
        user: User,
        seconds: float = DEFAULT_S,
        *,
        priority: Priority = NORMAL,
        lane: Lane = Lane.TRANSCRIPTION,
    ) -> Turn:
        turn = Turn(user, lane, priority, next(self.sequences), seconds)
        self.turns.add(turn)
        return turn

    def fill(self, slots: int = SLOTS) -> None:
        while len(self.running) < slots and (turn := self.turns.next(Slots.RECORDINGS)) is not None:
            self.started.append(turn)
            heapq.heappush(self.running, (self.now + turn.seconds / SPEED, turn.sequence, turn))

    def complete(self) -> Turn:
        """End the task that ends next, and start others; return it."""
        self.now, _, turn = heapq.heappop(self.running)
        self.turns.settle(turn, turn.seconds)
        self.fill()
        return turn


def users(turns: list[Turn]) -> list[User]:
    return [turn.user for turn in turns]


def take(turns: Turns, number: int, slots: Slots = Slots.RECORDINGS) -> list[Turn]:
    """Start tasks one after the other, each of which ends before the next starts."""
    taken = []
    for _ in range(number):
        turn = turns.next(slots)
        assert turn is not None
        turns.settle(turn, turn.seconds)
        taken.append(turn)
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
    waiting = sum(1 for tasks in fleet.turns.waiting.values() if tasks)
    new = fleet.publish("new", chance.choice([1.0, 3600.0]))
    fleet.fill()
    # Then the task starts after at most as many completions as there are slots, plus one task of each waiting user
    completions = 0
    while new not in {turn._replace(seconds=new.seconds) for turn in fleet.started}:
        fleet.complete()
        completions += 1
    assert completions <= SLOTS + waiting


def served_in_any_minute(fleet: Fleet) -> Iterator[Counter[User]]:
    """Run all tasks while all users wait; yield what each user was served in each minute."""
    fleet.fill()
    begins, total = len(fleet.turns.waiting), Counter[User]()
    marks = [(0.0, Counter[User]())]
    while sum(1 for tasks in fleet.turns.waiting.values() if tasks) == begins:
        ended = fleet.complete()
        total[ended.user] += round(ended.seconds)
        marks.append((fleet.now, Counter(total)))
        while marks[1][0] <= fleet.now - MINUTE:
            marks.pop(0)
        if fleet.now - marks[0][0] >= MINUTE:
            yield total - marks[0][1]


def jain(shares: list[float]) -> float:
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def test_users_get_equal_seconds_of_audio_in_any_minute() -> None:
    # Given 200 users with 20 tasks each
    chance, fleet = random.Random(7), Fleet()  # noqa: S311 -- no secret
    for user in range(200):
        for _ in range(20):
            fleet.publish(user, chance.uniform(1, 60))
    # When a fleet runs them for some minutes, then Jain's index of the audio served is at least 0.95 in any minute
    indices = [jain([served[user] for user in range(200)]) for served in served_in_any_minute(fleet)]
    assert len(indices) > 1000
    assert min(indices) >= 0.95


def test_users_get_audio_in_proportion_to_their_weights() -> None:
    # Given users with different weights, and more work than can be done
    weights: dict[User, float] = {"a": 1.0, "b": 2.0, "c": 4.0}
    chance = random.Random(3)  # noqa: S311 -- no secret
    fleet = Fleet(Turns(lambda user: Quota(weight=weights[user])))
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


def publish_cancel_and_run(fleet: Fleet, chance: random.Random, published: list[Turn]) -> None:
    """Publish one task; by chance, also cancel one, put one back, start some, and complete one."""
    published.append(
        fleet.publish(
            chance.choice([1, "1", 2, None]),
            chance.choice([math.nan, 0.0, 5.0]),
            priority=chance.choice(list(Priority)),
            lane=chance.choice([Lane.TRANSCRIPTION, Lane.DIARIZATION]),
        )
    )
    victim = chance.choice(published)
    if chance.random() < 0.1 and fleet.turns.remove(victim):
        published.remove(victim)
    if chance.random() < 0.2 and (turn := fleet.turns.next(Slots.RECORDINGS)) is not None:
        fleet.turns.put_back(turn)
    if chance.random() < 0.5:
        fleet.fill()
    if chance.random() < 0.3 and fleet.running:
        fleet.complete()


@pytest.mark.parametrize("seed", range(20))
def test_every_task_starts_once_and_those_of_a_user_in_their_order(seed: int) -> None:
    # Given tasks that are published, cancelled and put back while others run
    chance = random.Random(seed)  # noqa: S311 -- no secret
    fleet, published = Fleet(Turns(lambda _: Quota(max_running=chance.choice([0, 1, 3])))), list[Turn]()
    for _ in range(500):
        publish_cancel_and_run(fleet, chance, published)
    # When all have run
    while fleet.running or fleet.turns.waiting.total():
        for user in (1, "1", 2, None):
            fleet.turns.reconsider(user)
        fleet.fill()
        if fleet.running:
            fleet.complete()
    # Then each that was not cancelled has started once, and those of a user, lane and priority in their order
    assert sorted(turn.sequence for turn in fleet.started) == [turn.sequence for turn in published]
    orders = defaultdict[tuple[object, ...], list[int]](list)
    for turn in fleet.started:
        orders[turn.user, turn.lane, turn.priority].append(turn.sequence)
    assert all(order == sorted(order) for order in orders.values())
    assert not fleet.turns.waiting
    assert not fleet.turns.running


def test_an_actual_duration_corrects_a_false_header() -> None:
    # Given two users with much work, one of whom understates all durations
    turns, number = Turns(), count(1)
    for _ in range(100):
        turns.add(Turn("honest", Lane.TRANSCRIPTION, NORMAL, next(number), 10.0))
        turns.add(Turn("false", Lane.TRANSCRIPTION, NORMAL, next(number), 0.01))
    # When tasks run, then both get the same seconds of audio
    taken = []
    for _ in range(100):
        turn = turns.next(Slots.RECORDINGS)
        assert turn is not None
        turns.settle(turn, 10.0)
        taken.append(turn)
    assert abs(users(taken).count("honest") - 50) <= 1


def test_an_overstated_duration_is_refunded_but_saves_no_turns() -> None:
    # Given a user who was charged a day for ten seconds, while another was served for a while
    turns, number = Turns(), count(1)
    turns.add(Turn("a", Lane.TRANSCRIPTION, NORMAL, next(number), 24 * 3600.0))
    overstated = turns.next(Slots.RECORDINGS)
    assert overstated is not None
    for _ in range(30):
        turns.add(Turn("b", Lane.TRANSCRIPTION, NORMAL, next(number), 10.0))
    take(turns, 10)
    for _ in range(30):
        turns.add(Turn("a", Lane.TRANSCRIPTION, NORMAL, next(number), 10.0))
    # When the charge is corrected, then the two take turns from now on
    turns.settle(overstated, 10.0)
    assert abs(users(take(turns, 10)).count("a") - 5) <= 1


def test_an_unknown_duration_counts_as_the_mean_of_the_users_latest_tasks() -> None:
    turns = Turns()
    turns.add(Turn("a", Lane.TRANSCRIPTION, NORMAL, 1, math.nan))
    turns.add(Turn("a", Lane.TRANSCRIPTION, NORMAL, 2, math.nan))
    first = turns.next(Slots.RECORDINGS)
    assert first is not None
    assert first.seconds == DEFAULT_S
    turns.settle(first, 12.0)
    second = turns.next(Slots.RECORDINGS)
    assert second is not None
    assert second.seconds == 12.0


def test_a_user_at_the_limit_is_passed_over_until_a_task_ends_or_the_limit_is_raised() -> None:
    # Given a user who may run one task, and has more
    limits = {"a": 1, "b": 0}
    turns = Turns(lambda user: Quota(max_running=limits[str(user)]))
    for sequence, user in enumerate(["a", "a", "a", "b"], 1):
        turns.add(Turn(user, Lane.TRANSCRIPTION, NORMAL, sequence, 1.0))
    first, other = turns.next(Slots.RECORDINGS), turns.next(Slots.RECORDINGS)
    assert first is not None
    assert other is not None
    assert (first.user, other.user, turns.next(Slots.RECORDINGS)) == ("a", "b", None)
    # When it ends, then the next one starts
    turns.settle(first, 1.0)
    assert (turns.next(Slots.RECORDINGS) or first).sequence == 2
    assert turns.next(Slots.RECORDINGS) is None
    # When the limit is raised, then the last one starts
    limits["a"] = 2
    turns.reconsider("a")
    assert (turns.next(Slots.RECORDINGS) or first).sequence == 3


def test_running_tasks_of_an_earlier_order_count_for_their_users() -> None:
    turns = Turns(lambda _: Quota(max_running=2))
    turns.resume(Turn("a", Lane.TRANSCRIPTION, NORMAL, 1))
    for sequence, user in enumerate(["a", "b", "a"], 2):
        turns.add(Turn(user, Lane.TRANSCRIPTION, NORMAL, sequence, 1.0))
    assert [turn.sequence for turn in (turns.next(Slots.RECORDINGS), turns.next(Slots.RECORDINGS)) if turn] == [3, 2]
    assert turns.next(Slots.RECORDINGS) is None


@pytest.mark.parametrize("seed", range(50))
def test_the_tasks_before_a_task_are_those_that_start_before_it(seed: int) -> None:
    # Given waiting tasks of several users, some of whom have been served before
    chance, fleet = random.Random(seed), Fleet()  # noqa: S311 -- no secret
    published = [fleet.publish(chance.randrange(5), chance.uniform(1, 60)) for _ in range(60)]
    take(fleet.turns, chance.randrange(20))
    waiting = [turn for turn in published if turn in fleet.turns]
    # When the tasks before one of them are counted, and tasks start until it is next
    turn = chance.choice(waiting)
    before = fleet.turns.before(turn)
    assert before is not None
    started: list[Turn] = []
    while turn in fleet.turns:
        started += take(fleet.turns, 1)
    # Then as many tasks have started, with as many seconds of audio
    assert before == pytest.approx((len(started) - 1, sum(task.seconds for task in started[:-1])))


@pytest.mark.parametrize("seconds", [10.0, math.nan])
def test_many_tasks_before_a_task_are_estimated(seconds: float) -> None:
    turns, number = Turns(), count(1)
    for _ in range(200):
        for user in ("a", "b"):
            last = Turn(user, Lane.TRANSCRIPTION, NORMAL, next(number), seconds)
            turns.add(last)
    before = turns.before(last)
    assert before is not None
    assert before[0] == pytest.approx(399, abs=1)
    assert before[1] == pytest.approx(3990, abs=10) or math.isnan(seconds)


def test_live_tasks_have_slots_and_turns_of_their_own() -> None:
    turns = Turns()
    turns.add(Turn("a", Lane.LIVE, LOW, 1, 1.0))
    turns.add(Turn("a", Lane.DIARIZATION, LOW, 2, 1.0))
    assert [turn.sequence for turn in take(turns, 1, Slots.LIVE)] == [1]
    assert turns.next(Slots.LIVE) is None
    assert [turn.sequence for turn in take(turns, 1)] == [2]


def served(turns: Turns, priorities: set[Priority], number: int) -> list[Priority]:
    """Start tasks while tasks of these priorities always wait; return the priorities of those that start."""
    taken = []
    for _ in range(number):
        for priority in priorities:
            turns.add(Turn(priority, Lane.TRANSCRIPTION, priority, 1, 1.0))
        taken += [turn.priority for turn in take(turns, 1)]
    return taken


def test_the_shares_of_the_priorities() -> None:
    priorities = served(Turns(), {HIGH, NORMAL, LOW}, 48)[16:]
    for begin in range(17):
        assert Counter(priorities[begin : begin + 16]) == {HIGH: 11, NORMAL: 4, LOW: 1}


def test_a_priority_is_served_after_as_many_tasks_as_promised() -> None:
    for waiting, others, promised in ((NORMAL, {HIGH}, 4), (NORMAL, {HIGH, LOW}, 5), (LOW, {HIGH, NORMAL}, 16)):
        for before in range(40):
            turns = Turns()
            served(turns, others, before)
            assert waiting in served(turns, others | {waiting}, promised)


def test_only_tasks_that_were_passed_over_precede_high_ones() -> None:
    turns = Turns()
    served(turns, {LOW}, 40)
    assert served(turns, {HIGH, LOW}, 1) == [HIGH]


def test_a_task_that_could_not_start_keeps_no_other_task_of_its_user_from_starting() -> None:
    # Given a user at the limit of running tasks, whose live task therefore did not start
    turns = Turns(lambda _: Quota(max_running=1))
    recording, live = (
        Turn("ann", lane, Priority.NORMAL, number) for number, lane in ((1, Lane.DIARIZATION), (2, Lane.LIVE))
    )
    turns.add(recording)
    turns.add(live)
    started = turns.next(Slots.RECORDINGS)
    assert started is not None
    assert turns.next(Slots.LIVE) is None
    # When the running one could not start either, and is cancelled
    turns.put_back(started)
    assert turns.remove(started)
    # Then the live task starts
    started = turns.next(Slots.LIVE)
    assert started is not None
    assert started.sequence == live.sequence


def test_users_who_are_reconsidered_often_take_no_memory() -> None:
    turns = Turns()
    for user in range(3):
        turns.add(Turn(user, Lane.TRANSCRIPTION, NORMAL, user, 1.0))
    tracemalloc.start()
    for number in range(20_000):
        turns.reconsider(number % 3)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 100_000
    assert sorted(map(str, users(take(turns, 3)))) == ["0", "1", "2"]


@pytest.mark.parametrize("first", [1, 2])
def test_tasks_that_could_not_start_wait_in_their_order(first: int) -> None:
    # Given three tasks of a user, of which two could not start
    turns = Turns()
    for sequence in (1, 2, 3):
        turns.add(Turn("a", Lane.TRANSCRIPTION, NORMAL, sequence, 1.0))
    started = [turn for turn in (turns.next(Slots.RECORDINGS), turns.next(Slots.RECORDINGS)) if turn]
    # When they are put back, in any order, then all start in the order in which they were published
    for turn in started if first == 1 else reversed(started):
        turns.put_back(turn)
    assert [turn.sequence for turn in take(turns, 3)] == [1, 2, 3]
