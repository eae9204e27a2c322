"""Which task queue is served next, that none waits forever, and how fast tasks leave the queues."""

from collections import Counter

import pytest
from natscribe.schemas.wire import Kind, Priority

from app.queue.priorities import TASKS_MEASURED, PriorityOrder, Throughput

HIGH, NORMAL, LOW = Priority


def serve(order: PriorityOrder, full: set[Priority]) -> Priority:
    """Serve one task, where the queues of these priorities are never empty."""
    for priority, kinds in order.current():
        if priority in full:
            order.served(priority, kinds[0])
            return priority
        order.found_empty(priority)
    raise AssertionError


def test_the_shares_of_full_queues() -> None:
    # Given queues that are never empty
    order = PriorityOrder()
    # When a consumer has served for a while
    served = [serve(order, {HIGH, NORMAL, LOW}) for _ in range(48)][16:]
    # Then each had its share, in any sixteen tasks
    for begin in range(17):
        assert Counter(served[begin : begin + 16]) == {HIGH: 11, NORMAL: 4, LOW: 1}


def test_a_queue_that_waits_is_served_after_as_many_tasks_as_promised() -> None:
    for queue, others, promised in ((NORMAL, {HIGH}, 4), (NORMAL, {HIGH, LOW}, 5), (LOW, {HIGH, NORMAL}, 16)):
        # Given a consumer that was busy with others for any time
        for before in range(40):
            order = PriorityOrder()
            for _ in range(before):
                serve(order, others)
            # When a task waits in the lower queue
            served = [serve(order, others | {queue}) for _ in range(promised)]
            # Then it is served in time
            assert queue in served


def test_only_tasks_that_were_passed_over_go_before_high_ones() -> None:
    # Given a consumer that has served low tasks alone
    order = PriorityOrder()
    for _ in range(40):
        serve(order, {LOW})
    # When a high one comes, then it goes first
    assert serve(order, {HIGH, LOW}) is HIGH


def test_the_kinds_of_a_priority_take_turns() -> None:
    order = PriorityOrder()
    first = next(kinds for priority, kinds in order.current() if priority is LOW)
    order.served(LOW, first[0])
    second = next(kinds for priority, kinds in order.current() if priority is LOW)
    assert first == tuple(Kind)
    assert second == tuple(reversed(first))


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.queue.priorities.time", clock)
    return clock


def look(throughput: Throughput, clock: Clock, at: float, settled: int, *, waiting: bool = True) -> None:
    clock.now = at
    throughput.observe(settled, waiting=waiting)


def test_nothing_is_known_until_a_task_has_left(clock: Clock) -> None:
    throughput = Throughput()
    for at in range(3):
        look(throughput, clock, at * 10, 7)
        assert throughput.seconds_until(1) is None
    # When one has left, then the time before it counts
    look(throughput, clock, 30, 8)
    assert throughput.seconds_until(1) == 15
    assert throughput.seconds_until(3) == 75


def test_time_in_which_nothing_waits_does_not_count(clock: Clock) -> None:
    # Given a queue that was busy for ten seconds, in which two tasks left
    throughput = Throughput()
    look(throughput, clock, 0, 0)
    look(throughput, clock, 10, 2)
    # When it is empty for an hour, in which a task left whose worker had it already
    look(throughput, clock, 12, 2, waiting=False)
    look(throughput, clock, 3600, 3, waiting=False)
    look(throughput, clock, 3610, 3)
    # Then what is expected is what was seen while it was busy
    assert throughput.seconds_until(1) == 2.5


def test_what_was_longer_ago_does_not_count(clock: Clock) -> None:
    # Given tasks that took ten seconds each
    throughput = Throughput()
    for number in range(100):
        look(throughput, clock, number * 10, number)
    # When there are more workers
    for number in range(TASKS_MEASURED):
        look(throughput, clock, 1000 + number, 100 + number)
    look(throughput, clock, 1000 + TASKS_MEASURED, 100 + TASKS_MEASURED)
    # Then they are soon believed
    assert throughput.seconds_until(1) == pytest.approx(0.5, rel=0.01)


def test_a_stream_that_was_made_anew_is_no_negative_throughput(clock: Clock) -> None:
    throughput = Throughput()
    look(throughput, clock, 0, 1000)
    look(throughput, clock, 10, 1010)
    look(throughput, clock, 20, 3)
    assert throughput.seconds_until(1) == 1
