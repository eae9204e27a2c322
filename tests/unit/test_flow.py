"""How fast tasks leave the queue, by what is seen of it now and then."""

import pytest

from app.queue.flow import ENOUGH, Flow


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.queue.flow.time", clock)
    return clock


def look(flow: Flow, clock: Clock, at: float, settled: int, *, waiting: bool = True) -> None:
    clock.now = at
    flow.observe(settled, waiting=waiting)


def test_nothing_is_known_until_a_task_has_left(clock: Clock) -> None:
    flow = Flow()
    for at in range(3):
        look(flow, clock, at * 10, 7)
        assert flow.until(1) is None
    # When one has left, then the time before it counts
    look(flow, clock, 30, 8)
    assert flow.until(1) == 15
    assert flow.until(3) == 75


def test_time_in_which_nothing_waits_does_not_count(clock: Clock) -> None:
    # Given a queue that was busy for ten seconds, in which two tasks left
    flow = Flow()
    look(flow, clock, 0, 0)
    look(flow, clock, 10, 2)
    # When it is empty for an hour, in which a task left whose worker had it already
    look(flow, clock, 12, 2, waiting=False)
    look(flow, clock, 3600, 3, waiting=False)
    look(flow, clock, 3610, 3)
    # Then what is expected is what was seen while it was busy
    assert flow.until(1) == 2.5


def test_what_was_longer_ago_does_not_count(clock: Clock) -> None:
    # Given tasks that took ten seconds each
    flow = Flow()
    for number in range(100):
        look(flow, clock, number * 10, number)
    # When there are more workers
    for number in range(ENOUGH):
        look(flow, clock, 1000 + number, 100 + number)
    look(flow, clock, 1000 + ENOUGH, 100 + ENOUGH)
    # Then they are soon believed
    assert flow.until(1) == pytest.approx(0.5, rel=0.01)


def test_a_stream_that_was_made_anew_is_no_flow_backwards(clock: Clock) -> None:
    flow = Flow()
    look(flow, clock, 0, 1000)
    look(flow, clock, 10, 1010)
    look(flow, clock, 20, 3)
    assert flow.until(1) == 1
