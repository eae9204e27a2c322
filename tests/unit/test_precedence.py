"""Who is asked before whom, and that nobody is passed over for ever."""

from collections import Counter

from app.precedence import Precedence
from schemas.wire import Kind, Priority

HIGH, NORMAL, LOW = Priority


def serve(precedence: Precedence, full: set[Priority]) -> Priority:
    """One task, where the lanes of these priorities never run dry."""
    for priority, kinds in precedence.order():
        if priority in full:
            precedence.served(priority, kinds[0])
            return priority
        precedence.found_empty(priority)
    raise AssertionError


def test_the_shares_of_full_lanes() -> None:
    # Given lanes that never run dry
    precedence = Precedence()
    # When a slot has served for a while
    served = [serve(precedence, {HIGH, NORMAL, LOW}) for _ in range(48)][16:]
    # Then each had its share, in any sixteen tasks
    for begin in range(17):
        assert Counter(served[begin : begin + 16]) == {HIGH: 11, NORMAL: 4, LOW: 1}


def test_a_lane_that_waits_is_served_after_as_many_tasks_as_promised() -> None:
    for lane, others, promised in ((NORMAL, {HIGH}, 4), (NORMAL, {HIGH, LOW}, 5), (LOW, {HIGH, NORMAL}, 16)):
        # Given a slot that was busy with others for any time
        for before in range(40):
            precedence = Precedence()
            for _ in range(before):
                serve(precedence, others)
            # When somebody waits in the lower lane
            served = [serve(precedence, others | {lane}) for _ in range(promised)]
            # Then it is served in time
            assert lane in served


def test_nobody_goes_before_high_who_was_not_passed_over() -> None:
    # Given a slot that has served low tasks alone
    precedence = Precedence()
    for _ in range(40):
        serve(precedence, {LOW})
    # When a high one comes, then it goes first
    assert serve(precedence, {HIGH, LOW}) is HIGH


def test_the_kinds_of_a_priority_take_turns() -> None:
    precedence = Precedence()
    first = next(kinds for priority, kinds in precedence.order() if priority is LOW)
    precedence.served(LOW, first[0])
    second = next(kinds for priority, kinds in precedence.order() if priority is LOW)
    assert first == tuple(Kind)
    assert second == tuple(reversed(first))
