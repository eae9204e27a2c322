"""Who is asked before whom, and that nobody is passed over for ever."""

from collections import Counter

import pytest

from app.queue.precedence import PATIENCE, Precedence, position
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
    # When a consumer has served for a while
    served = [serve(precedence, {HIGH, NORMAL, LOW}) for _ in range(48)][16:]
    # Then each had its share, in any sixteen tasks
    for begin in range(17):
        assert Counter(served[begin : begin + 16]) == {HIGH: 11, NORMAL: 4, LOW: 1}


def test_a_lane_that_waits_is_served_after_as_many_tasks_as_promised() -> None:
    for lane, others, promised in ((NORMAL, {HIGH}, 4), (NORMAL, {HIGH, LOW}, 5), (LOW, {HIGH, NORMAL}, 16)):
        # Given a consumer that was busy with others for any time
        for before in range(40):
            precedence = Precedence()
            for _ in range(before):
                serve(precedence, others)
            # When somebody waits in the lower lane
            served = [serve(precedence, others | {lane}) for _ in range(promised)]
            # Then it is served in time
            assert lane in served


def test_nobody_goes_before_high_who_was_not_passed_over() -> None:
    # Given a consumer that has served low tasks alone
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


TRANSCRIPTION, DIARIZATION = Kind


def waiting(high: int = 0, normal: int = 0, low: int = 0, *, others: int = 0) -> dict[tuple[Kind, Priority], int]:
    """So many transcriptions of each priority, and so many normal diarizations."""
    found = {(DIARIZATION, priority): 0 for priority in Priority} | {(DIARIZATION, NORMAL): others}
    return found | dict(zip(((TRANSCRIPTION, priority) for priority in Priority), (high, normal, low), strict=True))


@pytest.mark.parametrize(
    ("lanes", "priority", "turn", "expected"),
    [
        (waiting(normal=5), NORMAL, 5, 5),  # nobody else is there
        (waiting(normal=5, others=2), NORMAL, 5, 7),  # the other kind takes turns
        (waiting(normal=5, others=100), NORMAL, 3, 5),
        (waiting(high=2, normal=5), NORMAL, 5, 7),  # what is high goes first
        (waiting(high=1000, normal=5), NORMAL, 5, 20),  # but every fourth task is normal
        (waiting(high=1000, normal=1000, low=1), LOW, 1, 16),  # and every sixteenth low
        (waiting(high=2, normal=3, low=4), LOW, 4, 9),
        (waiting(high=30, normal=1000, low=1000), HIGH, 30, 42),  # ten of them normal, two low
        (waiting(high=1), HIGH, 1, 1),
    ],
)
def test_the_place_among_all_tasks(
    lanes: dict[tuple[Kind, Priority], int], priority: Priority, turn: int, expected: int
) -> None:
    assert position(lanes, TRANSCRIPTION, priority, turn) == expected


@pytest.mark.parametrize("priority", list(Priority))
def test_no_two_tasks_of_a_priority_have_one_place(priority: Priority) -> None:
    # Given as many tasks of each kind
    lanes = dict.fromkeys(waiting(), 0) | {(kind, priority): 3 for kind in Kind}
    # When each is told its place
    places = [position(lanes, kind, priority, turn) for kind in Kind for turn in (1, 2, 3)]
    # Then somebody is the next, and so on
    assert sorted(places) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("priority", list(Priority))
def test_the_place_is_about_true(priority: Priority) -> None:
    # Given lanes of any length, and consumers that were busy with others for any time
    for size in (1, 3, 10, 40):
        for before in range(20):
            lanes = waiting(high=30, normal=20, low=10) | {(TRANSCRIPTION, priority): size}
            precedence = Precedence()
            for _ in range(before):
                serve(precedence, {HIGH})
            # When all that waits is served
            expected = position(lanes, TRANSCRIPTION, priority, size)
            left = {each: lanes[TRANSCRIPTION, each] for each in Priority}
            served = 0
            while left[priority]:
                left[serve(precedence, {each for each in left if left[each]})] -= 1
                served += 1
            # Then the last one of the lane begins where it was said, or as much off as a lane may be passed over
            assert abs(served - expected) <= max(PATIENCE.values())
