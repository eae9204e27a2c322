"""Which task queue is served next, and that none waits forever."""

from collections import Counter

from natscribe.schemas.wire import Lane, Priority

from app.queue.priorities import PriorityOrder

HIGH, NORMAL, LOW = Priority


def serve(order: PriorityOrder, full: set[Priority]) -> Priority:
    """Serve one task, where the queues of these priorities are never empty."""
    for priority, kinds in order.current():
        if priority in full:
            order.note_served((kinds[0], priority))
            return priority
        order.note_empty(priority)
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


def test_the_queues_of_a_priority_take_turns() -> None:
    order = PriorityOrder()
    first = next(queues for priority, queues in order.current() if priority is LOW)
    order.note_served((first[0], LOW))
    second = next(queues for priority, queues in order.current() if priority is LOW)
    assert first == tuple(Lane)
    assert second == (*first[1:], first[0])
